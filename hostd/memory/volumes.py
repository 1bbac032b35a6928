"""A backend of plain sparse files, under whatever driver's name it is asked for: no QEMU, no root, no network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from hostd.drivers import DiskSource, LiveDisks
from hostd.spec import BackendSpec, ErrorCode, HostError, VolumeSeen
from hostd.storage import sparse
from hostd.storage.instances import checked
from hostd.storage.volumes.backend import Can, Extent, Pool, Progress

LOCAL: Final = frozenset({"file", "lvm"})
"""Drivers whose volumes are on one host; those of all others are shared by the hosts that share a directory."""

_DATA: Final = "data"
_META: Final = "meta.json"
_BLOCK: Final = 64 * 1024


@attrs.define(kw_only=True)
class MemoryPools:
    """Where the volumes of memory backends are, and what is wrong with them, for tests to set."""

    own: Path
    """This host's."""
    shared: Path
    """Of all hosts that are given the same directory."""
    total: int = 1000 << 30
    """Bytes of every pool."""
    down: dict[str, HostError] = attrs.field(factory=dict)
    """What reaching for a backend raises, by its uuid."""

    def make(self, spec: BackendSpec, *, state: Path, run: Path, live: LiveDisks) -> MemoryBackend:
        """As `hostd.storage.volumes.registry.make`."""
        return MemoryBackend(spec, self, live)


class MemoryBackend:
    """storage.volumes.backend.Backend: DIR/<volume>/{data, <snapshot>.snap, meta.json}; whole with its meta.json."""

    can = frozenset(Can)

    def __init__(self, spec: BackendSpec, pools: MemoryPools, live: LiveDisks) -> None:
        self._uuid = spec.uuid
        self._pools = pools
        self._live = live
        self._root = (pools.own if spec.driver in LOCAL else pools.shared) / spec.uuid

    def pool(self) -> Pool:
        self._reach()
        taken = sum(seen.allocated for seen in self.volumes())
        return Pool(total=self._pools.total, free=self._pools.total - taken)

    def volumes(self) -> Iterable[VolumeSeen]:
        self._reach()
        names = sorted(os.listdir(self._root)) if self._root.exists() else []
        return tuple(seen for name in names if (seen := self.seen(name)))

    def seen(self, volume: str) -> VolumeSeen | None:
        self._reach()
        try:
            meta = self._meta(volume)
        except HostError:
            return None
        allocated = sum(file.stat().st_blocks * 512 for file in self._of(volume).iterdir())
        size = (self._of(volume) / _DATA).stat().st_size
        return VolumeSeen(uuid=volume, size=size, allocated=allocated, snapshots=tuple(meta["snapshots"]))

    def create(self, volume: str, size: int, *, progress: Progress) -> None:
        self._reach()
        if self.seen(volume) is None:
            sparse.create(self._fresh(volume), size)
            self._write(volume, {"snapshots": []})

    def create_from(self, volume: str, size: int, source: DiskSource, *, progress: Progress) -> None:
        self._reach()
        if self.seen(volume) is None:
            data = self._fresh(volume)
            sparse.copy(Path(source.name), data)
            os.truncate(data, size)
            progress(100)
            self._write(volume, {"snapshots": []})

    def clone(self, volume: str, size: int, *, of: str, snapshot: str, progress: Progress) -> None:
        self.create_from(volume, size, self.frozen(of, snapshot), progress=progress)

    def delete(self, volume: str) -> None:
        self._reach()
        if (holder := self._live.holder(volume)) is not None:
            raise HostError(ErrorCode.BAD_STATE, f"instance {holder} has volume {volume} open", hint="detach it first")
        if (seen := self.seen(volume)) and seen.snapshots:
            raise HostError(
                ErrorCode.BAD_STATE,
                f"volume {volume} has {len(seen.snapshots)} snapshots",
                hint="delete its snapshots first",
            )
        shutil.rmtree(self._of(volume), ignore_errors=True)

    def extend(self, volume: str, size: int) -> None:
        self._reach()
        self._meta(volume)
        data = self._of(volume) / _DATA
        if data.stat().st_size < size:
            os.truncate(data, size)
        if self._live.holder(volume) is not None:
            self._live.resize(volume, size)

    def snapshot(self, volume: str, snapshot: str, *, quiesce: bool) -> bool | None:
        self._reach()
        meta = self._meta(volume)
        if snapshot not in meta["snapshots"]:
            sparse.copy(self._of(volume) / _DATA, self._snap(volume, snapshot))
            self._write(volume, {"snapshots": [*meta["snapshots"], snapshot]})
        return None if self._live.holder(volume) is None else quiesce

    def delete_snapshot(self, volume: str, snapshot: str, *, progress: Progress) -> None:
        self._reach()
        meta = self._meta(volume)
        self._write(volume, {"snapshots": [known for known in meta["snapshots"] if known != snapshot]})
        self._snap(volume, snapshot).unlink(missing_ok=True)

    def revert(self, volume: str, snapshot: str) -> None:
        self._reach()
        if self._meta(volume)["snapshots"][-1:] != [snapshot]:
            raise HostError(ErrorCode.BAD_STATE, f"snapshot {snapshot} is not the newest of volume {volume}")
        if (holder := self._live.holder(volume)) is not None:
            raise HostError(ErrorCode.BAD_STATE, f"instance {holder} has volume {volume} open", hint="stop it first")
        size = (self._of(volume) / _DATA).stat().st_size
        sparse.copy(self._snap(volume, snapshot), self._of(volume) / _DATA)
        os.truncate(self._of(volume) / _DATA, size)

    def source(self, volume: str) -> DiskSource:
        self._reach()
        self._meta(volume)
        return DiskSource(type="file", format="raw", name=str(self._of(volume) / _DATA))

    def frozen(self, volume: str, snapshot: str) -> DiskSource:
        self._reach()
        if snapshot not in self._meta(volume)["snapshots"]:
            raise HostError(ErrorCode.NOT_FOUND, f"volume {volume} has no snapshot {snapshot}")
        return DiskSource(type="file", format="raw", name=str(self._snap(volume, snapshot)))

    def changed(self, volume: str, snapshot: str, *, since: str) -> Iterable[Extent] | None:
        new, old = (Path(self.frozen(volume, name).name) for name in (snapshot, since))
        return _differences(new, old)

    # ------------------------------------------------------------------------ inside

    def _reach(self) -> None:
        if (bad := self._pools.down.get(self._uuid)) is not None:
            raise bad

    def _of(self, volume: str) -> Path:
        return self._root / checked(volume)

    def _snap(self, volume: str, snapshot: str) -> Path:
        return self._of(volume) / f"{checked(snapshot)}.snap"

    def _fresh(self, volume: str) -> Path:
        shutil.rmtree(self._of(volume), ignore_errors=True)
        self._of(volume).mkdir(parents=True)
        return self._of(volume) / _DATA

    def _meta(self, volume: str) -> Any:
        try:
            return json.loads((self._of(volume) / _META).read_text())
        except FileNotFoundError:
            raise HostError(ErrorCode.NOT_FOUND, f"there is no volume {volume} in backend {self._uuid}") from None

    def _write(self, volume: str, meta: Any) -> None:
        fresh = self._of(volume) / f".{_META}"
        fresh.write_text(json.dumps(meta))
        fresh.rename(self._of(volume) / _META)


def _differences(new: Path, old: Path) -> Iterator[Extent]:
    with new.open("rb") as ours, old.open("rb") as theirs:
        size = os.fstat(ours.fileno()).st_size
        ranges = [found for file in (ours, theirs) for found in sparse.data(file.fileno())]
        blocks = {number for start, end in ranges for number in range(start // _BLOCK, -(-end // _BLOCK))}
        for number in sorted(blocks):
            offset = number * _BLOCK
            length = min(_BLOCK, size - offset)
            if length <= 0:
                return
            mine = os.pread(ours.fileno(), length, offset)
            if mine != os.pread(theirs.fileno(), length, offset).ljust(length, b"\0"):
                yield Extent(offset=offset, length=length, zero=not any(mine))
