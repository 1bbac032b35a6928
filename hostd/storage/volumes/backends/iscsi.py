"""Volumes as files of one host, which its tgt daemon serves over iSCSI; guests of every host open them there.

Options: `portal`, address and port of the target daemon (port 3260); `path`, the directory of the files, which must be
there on the host that has the portal's address; `iqn`, the first part of every target's name (iqn.2024-01.skydeck);
`control`, tgtd's control port (0); `initiators`, whom it lets in: addresses and networks, by commas (ALL).

The host that has the portal's address is the *keeper*: it alone makes, changes and deletes, and tells the room there
is. The others open volumes and can nothing else. Each volume is a target of its own with one unit, so that who is
logged in to it tells who has it open; tgt cannot grow or swap a unit under somebody, so all is done while nobody has.

    PATH/volume-<uuid>/disk.raw             sparse; the volume is there when this is
                       <number>.<uuid>.raw  a snapshot, numbered by age: a copy, or shared blocks where those can be

tgtd forgets everything when it ends. The keeper tells it again whenever it looks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from hostd.drivers import DiskSource, LiveDisks
from hostd.spec import BackendSpec, ErrorCode, HostError, VolumeSeen
from hostd.storage import sparse
from hostd.storage.commands import disk_full
from hostd.storage.instances import checked, sync
from hostd.storage.volumes import blockdev
from hostd.storage.volumes.backend import Can, Extent, Pool, Progress
from hostd.storage.volumes.backends.tgt import UNIT, Tgt
from hostd.storage.volumes.backends.tools import ToolFailed, ask, copy

IQN: Final = "iqn.2024-01.skydeck"
PORT: Final = 3260
PATIENCE: Final = 8.0
"""Seconds for the daemon, or for the portal, to answer."""

DISK: Final = "disk.raw"
PART: Final = ".part"

_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_DIRECTORY: Final = re.compile(rf"volume-({_UUID})")
_SNAPSHOT: Final = re.compile(rf"(\d+)\.({_UUID})\.raw")
_NAME: Final = re.compile(r"iqn\.\d{4}-\d\d\.[a-z0-9.:-]+")
_INITIATOR: Final = re.compile(r"ALL|[0-9a-fA-F.:]+(?:/\d+)?")


class IscsiBackend:
    """hostd.storage.volumes.backend.Backend over the targets of one tgtd."""

    can = frozenset({Can.SNAPSHOT, Can.REVERT, Can.THIN})

    def __init__(self, spec: BackendSpec, *, state: Path, run: Path, live: LiveDisks) -> None:
        """Raises HostError(PROTOCOL) for options that cannot be."""
        options = {"iqn": IQN, "control": "0", "initiators": "ALL", **spec.options}
        self._address, self._port = _portal(options.get("portal", ""))
        self._iqn = _matching(_NAME, "iqn", options["iqn"])
        self._tgt = Tgt(
            control=_matching(re.compile(r"\d{1,5}"), "control", options["control"]),
            initiators=tuple(_matching(_INITIATOR, "initiators", one) for one in options["initiators"].split(",")),
        )
        path = options.get("path", "")
        if not path.startswith("/") or not path.isprintable() or "," in path:
            # The daemon takes its arguments as name=value, with commas between.
            raise HostError(ErrorCode.PROTOCOL, "iscsi backend: path is no absolute path without commas")
        self._path = Path(path)

    # ------------------------------------------------------------------------ looking

    def pool(self) -> Pool:
        if not self._keeps():
            self._reach()
            return Pool(total=0, free=0)
        served = self._tgt.targets()
        for volume in self._there():
            if self._target(volume) not in served:
                self._serve(volume)
        try:
            room = os.statvfs(self._path)
        except OSError as bad:
            raise self._unusable(bad) from bad
        return Pool(total=room.f_blocks * room.f_frsize, free=room.f_bavail * room.f_frsize)

    def volumes(self) -> Iterable[VolumeSeen]:
        if self._keeps():
            yield from (seen for volume in self._there() if (seen := self.seen(volume)))

    def seen(self, volume: str) -> VolumeSeen | None:
        self._keep()
        try:
            now = (self._directory(volume) / DISK).stat()
        except FileNotFoundError:
            return None
        except OSError as bad:
            raise self._unusable(bad) from bad
        frozen = self._snapshots(volume)
        return VolumeSeen(
            uuid=volume,
            size=now.st_size,
            allocated=512 * (now.st_blocks + sum(file.stat().st_blocks for file in frozen.values())),
            snapshots=tuple(frozen),
        )

    # ------------------------------------------------------------------------ making

    def create(self, volume: str, size: int, *, progress: Progress) -> None:
        with self._making(volume) as part:
            if part:
                _truncate(part, size)

    def create_from(self, volume: str, size: int, source: DiskSource, *, progress: Progress) -> None:
        with self._making(volume) as part:
            if part:
                _truncate(part, size)
                copy(source, DiskSource(type="file", format="raw", name=str(part)), size=size, progress=progress)

    def clone(self, volume: str, size: int, *, of: str, snapshot: str, progress: Progress) -> None:
        self._keep()
        frozen = self._snapshot_file(of, snapshot)
        with self._making(volume) as part:
            if part:
                sparse.copy(frozen, part)
                if part.stat().st_size < size:
                    _truncate(part, size)

    @contextlib.contextmanager
    def _making(self, volume: str) -> Iterator[Path | None]:
        """A file to be the volume's disk when the block ends; None when it has one. Served afterwards."""
        self._keep()
        disk = self._directory(volume) / DISK
        part = disk.with_name(DISK + PART)
        if disk.exists():
            yield None
        else:
            try:
                disk.parent.mkdir(mode=0o700, exist_ok=True)
                part.unlink(missing_ok=True)
                yield part
                _appear(part, disk)
            except OSError as bad:
                part.unlink(missing_ok=True)
                raise self._unusable(bad) from bad
            except HostError:
                part.unlink(missing_ok=True)
                raise
        self._serve(volume)

    # ------------------------------------------------------------------------ changing

    def delete(self, volume: str) -> None:
        self._keep()
        directory = self._directory(volume)
        if frozen := self._snapshots(volume):
            raise HostError(
                ErrorCode.BAD_STATE, f"volume {volume} has {len(frozen)} snapshots", hint="delete its snapshots first"
            )
        with self._alone(volume, serve=False):
            try:
                (directory / DISK).unlink(missing_ok=True)
                for left in directory.glob(f"*{PART}"):
                    left.unlink()
                with contextlib.suppress(FileNotFoundError):
                    directory.rmdir()
            except OSError as bad:
                raise self._unusable(bad) from bad

    def extend(self, volume: str, size: int) -> None:
        if self._must_see(volume).size >= size:
            return
        with self._alone(volume):
            _truncate(self._directory(volume) / DISK, size)

    def snapshot(self, volume: str, snapshot: str, *, quiesce: bool) -> bool | None:
        if checked(snapshot) in self._must_see(volume).snapshots:
            return None
        directory = self._directory(volume)
        numbers = [int(found[1]) for file in directory.iterdir() if (found := _SNAPSHOT.fullmatch(file.name))]
        frozen = directory / f"{max(numbers, default=0) + 1}.{snapshot}.raw"
        with self._alone(volume):
            self._copy_whole(directory / DISK, frozen)
        return None

    def delete_snapshot(self, volume: str, snapshot: str, *, progress: Progress) -> None:
        self._keep()
        if file := self._snapshots(volume).get(checked(snapshot)):
            file.unlink(missing_ok=True)

    def revert(self, volume: str, snapshot: str) -> None:
        seen = self._must_see(volume)
        if not seen.snapshots or seen.snapshots[-1] != snapshot:
            raise HostError(
                ErrorCode.BAD_STATE,
                f"{snapshot} is not the newest snapshot of volume {volume}",
                hint="a volume is turned back to its newest snapshot only",
            )
        with self._alone(volume):
            # A volume never shrinks: what it was grown by since reads as zeros.
            self._copy_whole(self._snapshot_file(volume, snapshot), self._directory(volume) / DISK, size=seen.size)

    # ------------------------------------------------------------------------ opening

    def source(self, volume: str) -> DiskSource:
        """As everybody opens it, the keeper too: tgtd then knows who has it open."""
        name = f"{self._target(volume)}/{UNIT}"
        source = DiskSource(type="iscsi", format="raw", name=name, hosts=((self._address, self._port),))
        if self._keeps():
            self._must_see(volume)
            self._serve(volume)
            return source
        self._reach()
        try:
            # The daemon of another host: only trying tells whether it has the volume.
            ask("qemu-img", "info", "-f", "raw", blockdev.name(source), timeout=PATIENCE, **self._unanswered)
        except ToolFailed as bad:
            raise HostError(
                ErrorCode.NOT_FOUND,
                f"the iSCSI target at {self._address} has no volume {volume}: {bad.last}",
                hint="is hostd running on the host that has this address?",
            ) from bad
        return source

    def frozen(self, volume: str, snapshot: str) -> DiskSource:
        self._keep()
        return DiskSource(type="file", format="raw", name=str(self._snapshot_file(volume, snapshot)))

    def changed(self, volume: str, snapshot: str, *, since: str) -> Iterable[Extent] | None:
        return None

    # ------------------------------------------------------------------------ the keeper

    def _keeps(self) -> bool:
        """Whether this host has the portal's address."""
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        with socket.socket(family) as probe:
            try:
                probe.bind((self._address, 0))
            except OSError as bad:
                if bad.errno == errno.EADDRNOTAVAIL:
                    return False
                raise HostError(
                    ErrorCode.STORAGE, f"the address {self._address} cannot be used: {bad.strerror}"
                ) from bad
        return True

    def _keep(self) -> None:
        if not self._keeps():
            raise HostError(
                ErrorCode.BAD_STATE,
                f"the volumes of the iSCSI target at {self._address} are kept by the host that has this address",
                hint="detach the volume first: it is made, changed and deleted there only, while nobody has it open",
            )

    def _reach(self) -> None:
        try:
            socket.create_connection((self._address, self._port), timeout=PATIENCE).close()
        except OSError as bad:
            raise HostError(
                ErrorCode.STORAGE,
                f"the iSCSI target at {self._address}:{self._port} does not answer: {bad}",
                hint="look whether tgtd runs there, and at the network between",
            ) from bad

    @property
    def _unanswered(self) -> dict[str, str]:
        return {
            "unanswered": f"the iSCSI target at {self._address}:{self._port}",
            "hint": "look whether tgtd runs there, and at the network between",
        }

    # ------------------------------------------------------------------------ its files

    def _directory(self, volume: str) -> Path:
        return self._path / f"volume-{checked(volume)}"

    def _there(self) -> list[str]:
        try:
            found = [_DIRECTORY.fullmatch(entry.name) for entry in self._path.iterdir() if (entry / DISK).exists()]
        except OSError as bad:
            raise self._unusable(bad) from bad
        return [one[1] for one in found if one]

    def _must_see(self, volume: str) -> VolumeSeen:
        seen = self.seen(volume)
        if seen is None:
            raise HostError(ErrorCode.NOT_FOUND, f"there is no volume {volume} in {self._path}")
        return seen

    def _snapshots(self, volume: str) -> dict[str, Path]:
        """By uuid, oldest first."""
        directory = self._directory(volume)
        try:
            found = [(_SNAPSHOT.fullmatch(file.name), file) for file in directory.iterdir()]
        except FileNotFoundError:
            return {}
        return {name[2]: file for name, file in sorted(found, key=_age) if name}

    def _snapshot_file(self, volume: str, snapshot: str) -> Path:
        file = self._snapshots(volume).get(checked(snapshot))
        if file is None:
            raise HostError(ErrorCode.NOT_FOUND, f"volume {volume} has no snapshot {snapshot}")
        return file

    def _copy_whole(self, source: Path, target: Path, *, size: int = 0) -> None:
        part = target.with_name(target.name + PART)
        try:
            part.unlink(missing_ok=True)
            sparse.copy(source, part)
            if part.stat().st_size < size:
                _truncate(part, size)
            _appear(part, target)
        except OSError as bad:
            part.unlink(missing_ok=True)
            raise self._unusable(bad) from bad
        except HostError:
            part.unlink(missing_ok=True)
            raise

    def _unusable(self, bad: OSError) -> HostError:
        if bad.errno in (errno.ENOSPC, errno.EDQUOT):
            return disk_full(self._path, 0)
        return HostError(
            ErrorCode.STORAGE, f"{self._path}: {bad.strerror}", hint="look at the directory on the iSCSI target's host"
        )

    # ------------------------------------------------------------------------ its target

    def _target(self, volume: str) -> str:
        return f"{self._iqn}:volume-{checked(volume)}"

    def _serve(self, volume: str) -> None:
        self._tgt.serve(self._target(volume), self._directory(volume) / DISK)

    @contextlib.contextmanager
    def _alone(self, volume: str, *, serve: bool = True) -> Iterator[None]:
        """Have the file to oneself. Raises HostError(BAD_STATE) while somebody has the volume open."""
        if initiators := self._tgt.withdraw(self._target(volume)):
            raise HostError(
                ErrorCode.BAD_STATE,
                f"volume {volume} is open at {initiators[0]}",
                hint="detach it first: an iSCSI target cannot change a volume under somebody",
            )
        try:
            yield
        finally:
            if serve:
                self._serve(volume)


def _portal(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([0-9.]+))(?::(\d{1,5}))?", text)
    if not found:
        raise HostError(
            ErrorCode.PROTOCOL,
            f"iscsi backend: portal cannot be {text!r}",
            hint="an address and a port: 192.0.2.1:3260",
        )
    return found[1] or found[2], int(found[3] or PORT)


def _matching(pattern: re.Pattern[str], name: str, value: str) -> str:
    if not pattern.fullmatch(value):
        raise HostError(ErrorCode.PROTOCOL, f"iscsi backend: {name} cannot be {value!r}")
    return value


def _age(found: tuple[re.Match[str] | None, Path]) -> int:
    return int(found[0][1]) if found[0] else 0


def _truncate(file: Path, size: int) -> None:
    with file.open("ab") as opened:
        os.fchmod(opened.fileno(), 0o600)
        opened.truncate(size)
        os.fsync(opened.fileno())


def _appear(part: Path, name: Path) -> None:
    """The whole file gets its name, to stay."""
    sync(part)
    part.replace(name)
    sync(name.parent)
