"""Where an instance's files are on a host, and the only code that deletes them.

    STATE/instances/<uuid>/root.qcow2        overlay over base
                           base.<digest>     a symbolic link to the cache's image
                           ephemeral0.raw    formatted by os_type
                           swap.raw
                           config.iso        config drive, label config-2
                           seed.iso          the same files, label cidata
                           config.digest     of what the two hold
                           kernel.<digest>   direct boot, a copy of the cache's file
                           ramdisk.<digest>
                           console.log       written by virtlogd, which turns it over: see hostd/logs
    RUN/consoles/<uuid>.sock                 the serial console

A file appears under its name only when it is complete: it is made as `<name>.part` and renamed.
Directories are 0711 and files 0600: libvirt, where it runs guests under a user of their own, gives that user
the files of a domain as it starts, and nobody else has any business with a tenant's disk.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

import attrs

from hostd.spec import DiskSeen, ErrorCode, HostError, InstanceSpec
from hostd.storage import qcow2
from hostd.storage.commands import disk_full

ROOT: Final = "root.qcow2"
EPHEMERAL: Final = "ephemeral0.raw"
SWAP: Final = "swap.raw"
CONFIG: Final = "config.iso"
SEED: Final = "seed.iso"
CONFIG_DIGEST: Final = "config.digest"
CONSOLE: Final = "console.log"

ROLES: Final = {
    ROOT: "root",
    EPHEMERAL: "ephemeral",
    SWAP: "swap",
    CONFIG: "config",
    SEED: "config",
    CONSOLE: "console",
}
"""What `observe` calls each file. Others (a half-made file, a digest) are not worth a row."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def checked(uuid: str) -> str:
    """`uuid` itself when it is one in canonical form, and so safe as a file's or domain's name.

    Raises HostError(PROTOCOL).
    """
    if not _UUID.fullmatch(uuid) or str(UUID(uuid)) != uuid:
        raise HostError(ErrorCode.PROTOCOL, f"not an instance uuid: {uuid!r}")
    return uuid


def base_file(spec: InstanceSpec) -> str | None:
    """The name of the root overlay's backing file in the instance's directory."""
    return f"base.{spec.image.digest[:16]}" if spec.image else None


def boot_files(spec: InstanceSpec) -> tuple[str | None, str | None]:
    """The names of the kernel and the ramdisk in the instance's directory; the digest makes a new one a new file."""
    kernel = f"kernel.{spec.kernel.digest[:16]}" if spec.kernel else None
    ramdisk = f"ramdisk.{spec.ramdisk.digest[:16]}" if spec.ramdisk else None
    return kernel, ramdisk


@attrs.frozen(kw_only=True)
class Instances:
    """The instance directories of one host."""

    state: Path
    """hostd's state directory."""
    run: Path
    """hostd's run directory: what a reboot may forget."""

    @property
    def root(self) -> Path:
        return self.state / "instances"

    def directory(self, uuid: str) -> Path:
        return self.root / checked(uuid)

    def console_socket(self, uuid: str) -> Path:
        return self.run / "consoles" / f"{checked(uuid)}.sock"

    def console_log(self, uuid: str) -> Path:
        return self.directory(uuid) / CONSOLE

    def prepare(self) -> None:
        """Make the directories that hold all instances' files."""
        for parent in (self.root, self.run / "consoles"):
            parent.mkdir(parents=True, exist_ok=True)
            parent.chmod(0o711)

    def make(self, uuid: str) -> Path:
        """The instance's directory, made when missing. Raises HostError(DISK_FULL)."""
        self.prepare()
        directory = self.directory(uuid)
        try:
            directory.mkdir(exist_ok=True)
            directory.chmod(0o711)
        except OSError as bad:
            raise from_os_error(bad, where=self.root, needed=4096) from bad
        return directory

    def names(self, uuid: str) -> frozenset[str] | None:
        """The names of the files in the instance's directory; None when it has none."""
        try:
            return frozenset(os.listdir(self.directory(uuid)))
        except FileNotFoundError:
            return None

    def empty(self, uuid: str) -> None:
        """Delete everything inside the instance's directory, and nothing else. Idempotent.

        Links are deleted, never followed. The directory itself stays, as the sign that the deletion is not
        finished: `remove` it when nothing else speaks of the instance any more.
        Raises HostError(BAD_STATE) when the directory is something else than a directory.
        """
        directory = self.directory(uuid)
        try:
            mode = os.lstat(directory).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(mode):
            raise HostError(
                ErrorCode.BAD_STATE, f"{directory} is not a directory: refusing to delete what is behind it"
            )
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)

    def remove(self, uuid: str) -> None:
        """Delete the emptied directory and the console's socket. Idempotent."""
        self.console_socket(uuid).unlink(missing_ok=True)
        try:
            self.directory(uuid).rmdir()
        except FileNotFoundError:
            return

    def uuids(self) -> list[str]:
        """The instances that have a directory."""
        try:
            return sorted(name for name in os.listdir(self.root) if _UUID.fullmatch(name))
        except FileNotFoundError:
            return []

    def disks(self) -> Iterator[DiskSeen]:
        """Every file of every instance, by role."""
        for uuid in self.uuids():
            for name in sorted(self.names(uuid) or ()):
                seen = _disk(uuid, self.root / uuid / name)
                if seen is not None:
                    yield seen


def publish(path: Path, make: Callable[[Path], None], *, needed: int = 1 << 20) -> None:
    """Make a file whole, for good: `place`, and its name synced. Raises what `place` raises, OSError."""
    place(path, make, needed=needed)
    sync(path.parent)


def place(path: Path, make: Callable[[Path], None], *, needed: int) -> None:
    """Make a file whole: `make` writes `<path>.part`, which is then synced and renamed to `path`.

    The file becomes 0600, unless `make` made a link to one that others use too. A power failure may take its name away
    again, never a part of it, until its directory is synced.

    Raises HostError(DISK_FULL) with `needed` bytes, or what `make` raises; either leaves no part behind.
    """
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    try:
        make(part)
        if not part.is_symlink():
            part.chmod(0o600)
        sync(part)
        part.rename(path)
    except OSError as bad:
        part.unlink(missing_ok=True)
        raise from_os_error(bad, where=path.parent, needed=needed) from bad
    except HostError:
        part.unlink(missing_ok=True)
        raise


def from_os_error(bad: OSError, *, where: Path, needed: int) -> HostError:
    """What a failed file operation below `where` means on the wire."""
    if bad.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(where, needed)
    return HostError(ErrorCode.INTERNAL, str(bad))


def virtual_size(path: Path) -> int:
    """Bytes a guest sees of one of our own disks: a qcow2's header says, any other file's length is.

    Never used on a tenant's image: which format a file has is known from its name here.
    """
    if path.suffix == ".qcow2":
        with path.open("rb") as file:
            header = file.read(32)
        if header.startswith(qcow2.MAGIC):
            return int.from_bytes(header[24:32], "big")
    return path.stat().st_size


def _disk(uuid: str, path: Path) -> DiskSeen | None:
    role = ROLES.get(path.name)
    if role is None:
        return None
    try:
        # A directory or link under one of our names is nobody's disk.
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        return DiskSeen(
            instance=uuid, role=role, path=str(path), size=virtual_size(path), allocated=path.stat().st_blocks * 512
        )
    except FileNotFoundError:
        return None  # deleted while we looked


def sync(path: Path) -> None:
    """Have a file's bytes, or a directory's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
