"""Volumes as thin logical volumes of this host's LVM; their snapshots are thin ones too.

Options: `vg`, the volume group; `pool`, the thin pool in it. Both are there already.

A logical volume is called `volume-<uuid>`, or `frozen-<uuid>` for a snapshot (LVM keeps `snapshot` for itself), whose
tags say of which volume it is and how old. What is being made or dropped is called `volume-<uuid>.part`, what a revert
puts in its place `.back`: what a crash leaves is never taken for a volume, and a revert is finished. Others' logical
volumes are left alone. Ours are activated by us alone, when something opens them.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs

from hostd.drivers import DiskSource, LiveDisks
from hostd.spec import BackendSpec, ErrorCode, HostError, VolumeSeen
from hostd.storage.instances import checked
from hostd.storage.volumes.backend import Can, Extent, Pool, Progress
from hostd.storage.volumes.backends.tools import ENVIRONMENT, ToolFailed, ask, copy

PATIENCE: Final = 30.0
"""Seconds for a command: LVM's wait for each other."""

HINT: Final = "look at `lvs` and `vgs` on this host"

FULL: Final = 98.0
"""Percent of a pool's metadata beyond which it takes nothing new."""

SECTOR: Final = 512

_NAME: Final = re.compile(r"[A-Za-z0-9_+.][A-Za-z0-9_+.-]*")
_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_VOLUME: Final = re.compile(rf"volume-({_UUID})")
_FROZEN: Final = re.compile(rf"frozen-({_UUID})")

_FIELDS: Final = "lv_name,lv_size,lv_attr,lv_tags,pool_lv,data_percent,metadata_percent,thin_id"

_DELTAS = threading.Lock()
"""A pool keeps one copy of its metadata at a time."""


@attrs.frozen(kw_only=True)
class Logical:
    """One logical volume, as `lvs` tells it."""

    name: str
    size: int
    open: bool
    tags: frozenset[str]
    pool: str
    used: float
    """Percent; 0 also of an inactive one, which LVM knows nothing of."""
    metadata: float
    """Percent, of a pool."""
    thin_id: int

    def tag(self, key: str) -> str:
        return next((tag.partition("=")[2] for tag in self.tags if tag.startswith(f"{key}=")), "")


class LvmBackend:
    """hostd.storage.volumes.backend.Backend over a thin pool."""

    def __init__(self, spec: BackendSpec, *, state: Path, run: Path, live: LiveDisks) -> None:
        """Raises HostError(PROTOCOL) for options that cannot be."""
        for name in ("vg", "pool"):
            if not _NAME.fullmatch(value := spec.options.get(name, "")):
                raise HostError(ErrorCode.PROTOCOL, f"lvm backend: {name} cannot be {value!r}")
        self._vg = spec.options["vg"]
        self._pool = spec.options["pool"]
        self._live = live

    @property
    def can(self) -> frozenset[Can]:
        everything = frozenset(Can)
        return everything if shutil.which("thin_delta", path=ENVIRONMENT["PATH"]) else everything - {Can.CHANGED}

    # ------------------------------------------------------------------------ looking

    def pool(self) -> Pool:
        pool = self._all().get(self._pool)
        if pool is None or pool.thin_id or not pool.metadata:
            raise HostError(
                ErrorCode.STORAGE,
                f"volume group {self._vg} has no thin pool {self._pool}",
                hint=f"make it: lvcreate --type thin-pool -L SIZE -n {self._pool} {self._vg}",
            )
        free = 0 if pool.metadata >= FULL else int(pool.size * (100 - pool.used) / 100)
        return Pool(total=pool.size, free=free)

    def volumes(self) -> Iterable[VolumeSeen]:
        logical = self._all()
        for name in logical:
            if found := _VOLUME.fullmatch(name):
                yield self._told(found[1], logical)

    def seen(self, volume: str) -> VolumeSeen | None:
        logical = self._all()
        return self._told(volume, logical) if _volume(volume) in logical else None

    def _told(self, volume: str, logical: dict[str, Logical]) -> VolumeSeen:
        now, frozen = logical[_volume(volume)], _snapshots(volume, logical)
        return VolumeSeen(
            uuid=volume,
            size=now.size,
            allocated=sum(int(one.size * one.used / 100) for one in (now, *frozen.values())),
            snapshots=tuple(frozen),
        )

    # ------------------------------------------------------------------------ making

    def create(self, volume: str, size: int, *, progress: Progress) -> None:
        with self._making(volume) as part:
            if part:
                self._new(part, size)

    def create_from(self, volume: str, size: int, source: DiskSource, *, progress: Progress) -> None:
        with self._making(volume) as part:
            if part:
                self._new(part, size)
                self._activate(part)
                copy(source, self._device(part), size=size, progress=progress)
                self._deactivate(part)

    def clone(self, volume: str, size: int, *, of: str, snapshot: str, progress: Progress) -> None:
        with self._making(volume) as part:
            if part:
                frozen = self._frozen(of, snapshot)
                self._take(frozen.name, part)
                if frozen.size < size:
                    self._lvm("lvextend", "--size", f"{size}b", f"{self._vg}/{part}")

    @contextlib.contextmanager
    def _making(self, volume: str) -> Iterator[str | None]:
        """The name of a logical volume that becomes the volume when the block ends; None when it is there."""
        logical, part = self._all(), f"{_volume(volume)}.part"
        if _volume(volume) in logical:
            yield None
            return
        if part in logical:
            self._remove(part)
        yield part
        self._lvm("lvrename", self._vg, part, _volume(volume))

    def _new(self, name: str, size: int) -> None:
        self._lvm(
            "lvcreate", "--yes", "--type", "thin", "--virtualsize", f"{size}b", "--thinpool", self._pool,
            "--name", name, "--activate", "n", "--setactivationskip", "y", "--wipesignatures", "n", self._vg,
        )  # fmt: skip

    def _take(self, of: str, name: str, *options: str) -> None:
        self._lvm(
            "lvcreate", "--yes", "--type", "thin", "--name", name, "--setactivationskip", "y", *options,
            f"{self._vg}/{of}",
        )  # fmt: skip

    # ------------------------------------------------------------------------ changing

    def delete(self, volume: str) -> None:
        logical = self._all()
        if frozen := _snapshots(volume, logical):
            raise HostError(
                ErrorCode.BAD_STATE, f"volume {volume} has {len(frozen)} snapshots", hint="delete its snapshots first"
            )
        for name in (_volume(volume), f"{_volume(volume)}.part", f"{_volume(volume)}.back"):
            if name in logical:
                _closed(logical[name], volume)
                self._remove(name)

    def extend(self, volume: str, size: int) -> None:
        now = self._there(volume)
        if now.size < size:
            self._lvm("lvextend", "--size", f"{size}b", f"{self._vg}/{now.name}")
        if self._live.holder(volume) is not None:
            self._live.resize(volume, max(size, now.size))

    def snapshot(self, volume: str, snapshot: str, *, quiesce: bool) -> bool | None:
        logical = self._all()
        now = self._there(volume, logical)
        # What was taken before a crash is there, and whether it was frozen went with it.
        there = checked(snapshot) in _snapshots(volume, logical)
        ages = [int(one.tag("age") or 0) for one in logical.values() if one.tag("of") == volume]
        with self._live.still(volume, quiesce=quiesce and not there) as frozen:
            if not there:
                self._take(
                    now.name, f"frozen-{snapshot}", "--permission", "r",
                    "--addtag", f"of={volume}", "--addtag", f"age={max(ages, default=0) + 1}",
                )  # fmt: skip
        return frozen

    def delete_snapshot(self, volume: str, snapshot: str, *, progress: Progress) -> None:
        frozen = _snapshots(volume, self._all()).get(checked(snapshot))
        if frozen is not None:
            _closed(frozen, volume)
            self._remove(frozen.name)

    def revert(self, volume: str, snapshot: str) -> None:
        logical = self._all()
        now, frozen = self._there(volume, logical), _snapshots(volume, logical)
        if not frozen or next(reversed(frozen)) != snapshot:
            raise HostError(
                ErrorCode.BAD_STATE,
                f"{snapshot} is not the newest snapshot of volume {volume}",
                hint="a volume is turned back to its newest snapshot only",
            )
        _closed(now, volume)
        part, back = f"{now.name}.part", f"{now.name}.back"
        for left in (part, back):
            if left in logical:
                self._remove(left)
        # LVM's own merge would take the snapshot away, or put a copy of it in the snapshot's place.
        self._take(frozen[snapshot].name, back, "--permission", "rw")
        # A volume never shrinks: what it was grown by since reads as zeros.
        if frozen[snapshot].size < now.size:
            self._lvm("lvextend", "--size", f"{now.size}b", f"{self._vg}/{back}")
        self._lvm("lvrename", self._vg, now.name, part)
        self._lvm("lvrename", self._vg, back, now.name)
        self._remove(part)

    # ------------------------------------------------------------------------ opening

    def source(self, volume: str) -> DiskSource:
        now = self._there(volume)
        self._activate(now.name)
        return self._device(now.name)

    def frozen(self, volume: str, snapshot: str) -> DiskSource:
        frozen = self._frozen(volume, snapshot)
        self._activate(frozen.name)
        return self._device(frozen.name)

    def changed(self, volume: str, snapshot: str, *, since: str) -> Iterable[Extent] | None:
        if Can.CHANGED not in self.can:
            return None
        frozen = _snapshots(volume, self._all())
        if (
            snapshot not in frozen
            or since not in frozen
            or int(frozen[since].tag("age")) > int(frozen[snapshot].tag("age"))
        ):
            return None
        pool = f"{_mapped(self._vg)}-{_mapped(self._pool)}"
        self._activate(frozen[snapshot].name)
        with _DELTAS:
            # A copy that a crash has left is of an older state.
            with contextlib.suppress(ToolFailed):
                self._ask("dmsetup", "message", f"{pool}-tpool", "0", "release_metadata_snap")
            self._lvm("dmsetup", "message", f"{pool}-tpool", "0", "reserve_metadata_snap")
            try:
                told = self._lvm(
                    "thin_delta", "--metadata-snap", "--thin1", str(frozen[since].thin_id),
                    "--thin2", str(frozen[snapshot].thin_id), f"/dev/mapper/{pool}_tmeta",
                )  # fmt: skip
            finally:
                self._lvm("dmsetup", "message", f"{pool}-tpool", "0", "release_metadata_snap")
        return tuple(differences(told, size=frozen[snapshot].size))

    # ------------------------------------------------------------------------ asking

    def _all(self) -> dict[str, Logical]:
        """Every logical volume of the group, by name. Raises HostError(STORAGE)."""
        told = self._lvm("lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "--options", _FIELDS, self._vg)
        found = (_logical(row) for row in json.loads(told)["report"][0]["lv"])
        logical = {one.name: one for one in found if one.pool == self._pool or one.name == self._pool}
        for back in [name for name in logical if name.endswith(".back")]:
            name = back.removesuffix(".back")
            if _VOLUME.fullmatch(name) and name not in logical:
                # A crash between the two renames of a revert.
                self._lvm("lvrename", self._vg, back, name)
                logical[name] = attrs.evolve(logical.pop(back), name=name)
        return logical

    def _there(self, volume: str, logical: dict[str, Logical] | None = None) -> Logical:
        found = (self._all() if logical is None else logical).get(_volume(volume))
        if found is None:
            raise HostError(ErrorCode.NOT_FOUND, f"volume group {self._vg} has no volume {volume}")
        return found

    def _frozen(self, volume: str, snapshot: str) -> Logical:
        found = _snapshots(volume, self._all()).get(checked(snapshot))
        if found is None:
            raise HostError(ErrorCode.NOT_FOUND, f"volume {volume} has no snapshot {snapshot}")
        return found

    def _device(self, name: str) -> DiskSource:
        return DiskSource(type="block", format="raw", name=f"/dev/{self._vg}/{name}")

    def _activate(self, name: str) -> None:
        self._lvm("lvchange", "--activate", "y", "--ignoreactivationskip", f"{self._vg}/{name}")

    def _deactivate(self, name: str) -> None:
        self._lvm("lvchange", "--activate", "n", f"{self._vg}/{name}")

    def _remove(self, name: str) -> None:
        self._lvm("lvremove", "--yes", f"{self._vg}/{name}")

    def _lvm(self, *argv: str) -> str:
        try:
            return self._ask(*argv)
        except ToolFailed as bad:
            if "insufficient free space" in bad.said or "Free space in pool" in bad.said:
                raise HostError(
                    ErrorCode.DISK_FULL, f"disk full: {bad.last}", hint=f"grow the thin pool: lvextend {self._vg}/…"
                ) from bad
            raise HostError(ErrorCode.STORAGE, str(bad), hint=HINT) from bad

    def _ask(self, *argv: str) -> str:
        return ask(*argv, timeout=PATIENCE, unanswered="LVM on this host", hint=HINT)


def differences(delta: str, *, size: int) -> Iterator[Extent]:
    """What `thin_delta` tells of a newer snapshot of `size` bytes against an older one, as ranges of bytes."""
    told = ET.fromstring(delta)
    block = int(told.attrib["data_block_size"]) * SECTOR
    for range_ in told.iterfind("diff/*"):
        offset, length = int(range_.attrib["begin"]) * block, int(range_.attrib["length"]) * block
        if range_.tag != "same" and offset < size:
            # Only the older one has it: it was discarded since.
            yield Extent(offset=offset, length=min(length, size - offset), zero=range_.tag == "left_only")


def _volume(volume: str) -> str:
    return f"volume-{checked(volume)}"


def _snapshots(volume: str, logical: dict[str, Logical]) -> dict[str, Logical]:
    """By uuid, oldest first."""
    frozen = [one for one in logical.values() if one.tag("of") == volume and _FROZEN.fullmatch(one.name)]
    return {one.name.removeprefix("frozen-"): one for one in sorted(frozen, key=lambda one: int(one.tag("age")))}


def _closed(one: Logical, volume: str) -> None:
    if one.open:
        raise HostError(ErrorCode.BAD_STATE, f"volume {volume} is open on this host", hint="detach it first")


def _logical(row: dict[str, str]) -> Logical:
    return Logical(
        name=row["lv_name"],
        size=int(row["lv_size"]),
        open=row["lv_attr"][5] == "o",
        tags=frozenset(filter(None, row["lv_tags"].split(","))),
        pool=row["pool_lv"],
        used=float(row["data_percent"] or 0),
        metadata=float(row["metadata_percent"] or 0),
        thin_id=int(row["thin_id"] or 0),
    )


def _mapped(name: str) -> str:
    """As the device mapper spells a part of a name."""
    return name.replace("-", "--")
