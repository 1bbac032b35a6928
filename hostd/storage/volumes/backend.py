"""What a backend is: a place that keeps volumes and their snapshots, by uuid.

The drivers of volumes and snapshots know order, generations and guests; a backend knows files, logical volumes,
targets or Ceph. One contract suite holds for all (tests/contract/backends).

Everything is idempotent: it may have been done, wholly or in part, before a crash. What is half made is never taken
for whole, and goes with `delete`. Blocking; one call at a time per volume is the caller's care. All raise
HostError: STORAGE when the backend cannot be reached or failed, DISK_FULL, NOT_FOUND, BAD_STATE with the next act.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Protocol, runtime_checkable

import attrs

from hostd.drivers import DiskSource
from hostd.spec import VolumeSeen

Progress = Callable[[int], None]
"""Told percent, 0 to 100."""


class Can(StrEnum):
    """What not every backend can. As `BackendSeen.capabilities`."""

    SNAPSHOT = "snapshot"
    LIVE_SNAPSHOT = "live_snapshot"
    """Of a volume that a guest of this host has open: by `LiveDisks` or by itself."""
    REVERT = "revert"
    CLONE = "clone"
    """A volume from a snapshot without copying it."""
    CHANGED = "changed"
    THIN = "thin"


@attrs.frozen(kw_only=True)
class Pool:
    """How much room there is, in bytes."""

    total: int
    free: int


@attrs.frozen(kw_only=True)
class Extent:
    """A range of a disk, in bytes."""

    offset: int
    length: int
    zero: bool
    """It holds nothing but zeros."""


class Backend(Protocol):
    """One backend as this host reaches it. `live` (hostd.drivers.LiveDisks) is given when it is made."""

    @property
    def can(self) -> frozenset[Can]: ...

    def pool(self) -> Pool:
        """Reaches for the backend (mounts it, connects) and tells its room."""

    def volumes(self) -> Iterable[VolumeSeen]:
        """All volumes that are whole."""

    def seen(self, volume: str) -> VolumeSeen | None:
        """One of them; None when it is not there, or not whole."""

    def create(self, volume: str, size: int, *, progress: Progress) -> None:
        """An empty volume of `size` bytes, which reads as zeros."""

    def create_from(self, volume: str, size: int, source: DiskSource, *, progress: Progress) -> None:
        """A volume of `size` bytes with the contents of `source`, copied; nothing of it is needed afterwards."""

    def clone(self, volume: str, size: int, *, of: str, snapshot: str, progress: Progress) -> None:
        """A volume made from a snapshot of another of this backend; both may be deleted afterwards. Copies where the
        backend has no better way."""

    def delete(self, volume: str) -> None:
        """The volume and whatever is left of it. Raises BAD_STATE while it has snapshots or somebody has it open."""

    def extend(self, volume: str, size: int) -> None:
        """Grow to `size` bytes, also under a guest of this host."""

    def snapshot(self, volume: str, snapshot: str, *, quiesce: bool) -> bool | None:
        """Take one; whether a guest's file systems were frozen, None when no guest has it open."""

    def delete_snapshot(self, volume: str, snapshot: str, *, progress: Progress) -> None:
        """Also under a guest of this host."""

    def revert(self, volume: str, snapshot: str) -> None:
        """The volume is as its newest snapshot again."""

    def source(self, volume: str) -> DiskSource:
        """What a guest opens."""

    def frozen(self, volume: str, snapshot: str) -> DiskSource:
        """A snapshot, to be read: nobody writes what it stands on."""

    def changed(self, volume: str, snapshot: str, *, since: str) -> Iterable[Extent] | None:
        """Ranges of a snapshot that may differ from an older one; None when it cannot be told."""


@runtime_checkable
class OverImages(Protocol):
    """A backend of this host alone, whose volumes may stand on its image cache instead of on a copy.

    Who calls `create_over`, or clones such a volume, has the cache hold the image for the new volume first, and
    releases it when the volume is gone.
    """

    @property
    def over(self) -> frozenset[str]:
        """Formats of the images that its volumes can stand on, raw or qcow2; none when they have to be copied."""

    def create_over(self, volume: str, size: int, image: DiskSource, *, digest: str) -> None:
        """A volume of `size` bytes over the cache's file, which never changes."""

    def image(self, volume: str) -> str | None:
        """The digest of the image it stands on; None when it stands on none, or is not there."""
