"""A volume's life in LVM: lived on a kernel that has a device mapper, and recorded there for those that have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from hostd.spec import ErrorCode, HostError
from hostd.storage.volumes.backend import Extent
from hostd.storage.volumes.backends.lvm import LvmBackend

GROUP: Final = "group-1"
POOL: Final = "thin"
MIB: Final = 1 << 20
SIZE: Final = 64 * MIB

VOLUME: Final = "11111111-0000-4000-8000-000000000001"
CLONE: Final = "22222222-0000-4000-8000-000000000001"
OLD: Final = "aaaaaaaa-0000-4000-8000-000000000001"
NEW: Final = "bbbbbbbb-0000-4000-8000-000000000001"


def live(backend: LvmBackend, write: Callable[[str, int], None]) -> None:
    """`write` fills a MiB of a device at an offset."""
    assert backend.pool().total == 400 * MIB
    assert list(backend.volumes()) == []
    backend.create(VOLUME, SIZE, progress=_quietly)
    device = backend.source(VOLUME).name
    assert device == f"/dev/{GROUP}/volume-{VOLUME}"
    write(device, 0)
    assert backend.snapshot(VOLUME, OLD, quiesce=False) is None
    write(device, 8 * MIB)
    backend.snapshot(VOLUME, NEW, quiesce=False)
    assert list(backend.changed(VOLUME, NEW, since=OLD) or ()) == [Extent(offset=8 * MIB, length=MIB, zero=False)]
    assert backend.changed(VOLUME, OLD, since=NEW) is None
    backend.clone(CLONE, 2 * SIZE, of=VOLUME, snapshot=OLD, progress=_quietly)
    backend.extend(VOLUME, 2 * SIZE)
    assert _refused(lambda: backend.revert(VOLUME, OLD)) is ErrorCode.BAD_STATE
    backend.revert(VOLUME, NEW)
    assert _refused(lambda: backend.delete(VOLUME)) is ErrorCode.BAD_STATE
    seen = {seen.uuid: (seen.size, seen.snapshots) for seen in backend.volumes()}
    assert seen == {VOLUME: (2 * SIZE, (OLD, NEW)), CLONE: (2 * SIZE, ())}
    for snapshot in (OLD, NEW, NEW):
        backend.delete_snapshot(VOLUME, snapshot, progress=_quietly)
    backend.delete(VOLUME)
    backend.delete(VOLUME)
    backend.delete(CLONE)
    assert list(backend.volumes()) == []
    assert _refused(lambda: backend.source(VOLUME)) is ErrorCode.NOT_FOUND


def _refused(work: Callable[[], object]) -> ErrorCode:
    with pytest.raises(HostError) as caught:
        work()
    return caught.value.code


def _quietly(percent: int) -> None:
    pass
