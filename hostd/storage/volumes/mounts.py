"""Directories that volumes are kept in, and how it is known that they are the ones meant.

A shared directory is mounted, and a mount that is missing leaves an empty directory in its place: volumes would seem
lost, and new ones would fill the host's own disk. So it carries a file with the backend's uuid. It is written once, to
a directory that is mounted and has nothing else in it; from then on a directory without it is not the one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import attrs

from hostd.spec import BackendSpec, ErrorCode, HostError
from hostd.storage import commands
from hostd.storage.instances import checked

MARKER: Final = ".skydeck-backend"

PATIENCE: Final = 8.0
"""Seconds for a server to answer a mount."""

_EXPORT: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*):(/[^\s,\x00-\x1f]*)")
_OPTIONS: Final = re.compile(r"[A-Za-z0-9_=.:,%/-]*")


@attrs.frozen(kw_only=True)
class Directory:
    """A directory of this host's own."""

    path: Path
    ours: bool
    """hostd makes it."""

    def reach(self) -> Path:
        """Raises HostError(STORAGE) when it is not there."""
        if self.ours:
            self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        elif not self.path.is_dir():
            raise HostError(
                ErrorCode.STORAGE, f"there is no directory {self.path}", hint=f"make it on the host: mkdir {self.path}"
            )
        return self.path


def own_directory(spec: BackendSpec, state: Path) -> Directory:
    """Of a `file` backend. Raises HostError(PROTOCOL)."""
    if (path := _path(spec)) is not None:
        return Directory(path=path, ours=False)
    return Directory(path=state / "volumes", ours=True)


@attrs.frozen(kw_only=True)
class Shared:
    """A directory of several hosts, mounted by hostd or by somebody else."""

    backend: str
    path: Path
    export: str = ""
    """What hostd mounts there; empty: somebody else mounts."""
    options: str = ""

    @classmethod
    def of(cls, spec: BackendSpec, state: Path) -> Shared:
        """Raises HostError(PROTOCOL) for options that cannot be."""
        path, export = _path(spec), spec.options.get("export", "")
        if (path is None) == (not export):
            raise HostError(ErrorCode.PROTOCOL, "an nfs backend has an export to mount, or the path of one mounted")
        options = spec.options.get("mount_options", "")
        if (export and not _EXPORT.fullmatch(export)) or not _OPTIONS.fullmatch(options):
            raise HostError(
                ErrorCode.PROTOCOL, f"{export!r} with options {options!r} cannot be mounted", hint="host:/path"
            )
        where = path or state / "mounts" / checked(spec.uuid)
        return cls(backend=spec.uuid, path=where, export=export, options=options)

    def reach(self) -> Path:
        """The directory, mounted and known to be the one. Raises HostError(STORAGE)."""
        if self.export and not is_mounted(self.path):
            self._mount()
        marker = self.path / MARKER
        try:
            found = marker.read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            found = self._mark(marker)
        except OSError as bad:
            raise HostError(ErrorCode.STORAGE, f"{self.path}: {bad.strerror}", hint=self._hint()) from bad
        if found != self.backend:
            raise HostError(
                ErrorCode.STORAGE,
                f"{self.path} belongs to backend {found}, not to {self.backend}",
                hint="give each backend a directory of its own",
            )
        return self.path

    def _mark(self, marker: Path) -> str:
        """Make the directory this backend's, when it is mounted and nobody's; whose it then is."""
        if not self.path.is_dir() or mount_point(self.path) == Path("/"):
            raise HostError(ErrorCode.STORAGE, f"nothing is mounted at {self.path}", hint=self._hint())
        if os.listdir(self.path):
            raise HostError(
                ErrorCode.STORAGE,
                f"{self.path} is not the directory of this backend: it has files, and no {MARKER}",
                hint="mount the right one, or give the backend an empty directory",
            )
        fresh = marker.with_name(f"{MARKER}.{os.getpid()}.new")
        try:
            fresh.write_text(f"{self.backend}\n")
            try:
                os.link(fresh, marker)  # of several hosts that do this at once, one wins
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        except OSError as bad:
            raise HostError(ErrorCode.STORAGE, f"{self.path} cannot be written: {bad.strerror}") from bad
        return marker.read_text().strip()

    def _mount(self) -> None:
        self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        told = ("-o", self.options) if self.options else ()
        try:
            commands.run(
                ("mount", "-t", "nfs", *told, "--", self.export, str(self.path)),
                where=self.path.parent,
                needed=0,
                timeout=PATIENCE,
            )
        except HostError as bad:
            raise HostError(ErrorCode.STORAGE, f"{self.export}: {bad.error.message}", hint=self._hint()) from bad

    def _hint(self) -> str:
        if self.export:
            return f"from this host, try: mount -t nfs {self.export} {self.path} (package nfs-common)"
        return f"mount the shared directory at {self.path}"


def is_mounted(path: Path) -> bool:
    """Whether something is mounted at exactly this place."""
    return mount_point(path) == Path(os.path.realpath(path))


def mount_point(path: Path) -> Path:
    """Where the file system that `path` is on is mounted, bind mounts included, without touching it."""
    wanted = Path(os.path.realpath(path))
    points = {Path(_unescaped(line.split()[4])) for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    return next((at for at in (wanted, *wanted.parents) if at in points), Path("/"))


def _unescaped(text: str) -> str:
    """mountinfo writes blanks, tabs, newlines and backslashes in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _path(spec: BackendSpec) -> Path | None:
    text = spec.options.get("path", "")
    if not text:
        return None
    path = Path(text)
    if not path.is_absolute() or ".." in path.parts or not text.isprintable() or path == Path("/"):
        raise HostError(ErrorCode.PROTOCOL, f"{text!r} is no absolute path of a directory for volumes")
    return path
