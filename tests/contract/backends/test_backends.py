"""What every backend promises, checked against each in the same words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hostd.drivers import DiskSource
from hostd.spec import ErrorCode, HostError
from hostd.storage import sparse
from hostd.storage.volumes.backend import Backend, Can
from tests.contract.backends.stores import MIB, STORES, Make, Store, holds, size, write

ONE = "11111111-0000-4000-8000-000000000001"
TWO = "22222222-0000-4000-8000-000000000001"
OLD = "aaaaaaaa-0000-4000-8000-000000000001"
NEW = "bbbbbbbb-0000-4000-8000-000000000001"

SIZE = 64 * MIB


def quietly(percent: int) -> None:
    assert 0 <= percent <= 100


@pytest.fixture(params=STORES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    store: Store = request.param
    with store(tmp_path) as make:
        yield make


@pytest.fixture
def backend(make: Make) -> Backend:
    return make()


@pytest.fixture
def with_snapshots(backend: Backend) -> Backend:
    if Can.SNAPSHOT not in backend.can:
        pytest.skip("it has no snapshots")
    return backend


def refused(work: object) -> ErrorCode:
    assert callable(work)
    with pytest.raises(HostError) as caught:
        work()
    return caught.value.code


def names(backend: Backend) -> set[str]:
    return {seen.uuid for seen in backend.volumes()}


def test_a_volume_is_made_grown_and_deleted_each_of_it_twice(make: Make) -> None:
    backend = make()
    pool = backend.pool()
    assert 0 < pool.free <= pool.total
    assert (backend.seen(ONE), names(backend)) == (None, set())
    for _ in range(2):
        backend.create(ONE, SIZE, progress=quietly)
    assert size(backend.source(ONE)) == SIZE
    assert holds(backend.source(ONE), 0, 0, SIZE)
    write(backend.source(ONE), MIB, 7)
    backend.create(ONE, SIZE, progress=quietly)  # changes nothing of one that is there
    for _ in range(2):
        backend.extend(ONE, 2 * SIZE)
    backend.extend(ONE, SIZE)  # never shrinks
    backend = make()
    assert size(backend.source(ONE)) == 2 * SIZE
    assert holds(backend.source(ONE), MIB, 7)
    assert holds(backend.source(ONE), SIZE, 0, SIZE)
    (seen,) = backend.volumes()
    assert (seen.uuid, seen.size, seen.snapshots) == (ONE, 2 * SIZE, ())
    assert seen == backend.seen(ONE)
    for _ in range(2):
        backend.delete(ONE)
    assert (backend.seen(ONE), names(backend)) == (None, set())
    for gone in (
        lambda: backend.source(ONE),
        lambda: backend.extend(ONE, SIZE),
        lambda: backend.snapshot(ONE, OLD, quiesce=False),
    ):
        assert refused(gone) in (ErrorCode.NOT_FOUND, ErrorCode.BAD_STATE)


def test_a_volume_is_filled_from_a_disk(backend: Backend, tmp_path: Path) -> None:
    source = DiskSource(type="file", format="raw", name=str(tmp_path / "source.raw"))
    sparse.create(Path(source.name), 32 * MIB)
    write(source, MIB, 5)
    told: list[int] = []
    for _ in range(2):
        backend.create_from(ONE, SIZE, source, progress=told.append)
    Path(source.name).unlink()
    assert size(backend.source(ONE)) == SIZE
    assert holds(backend.source(ONE), 0, 0)
    assert holds(backend.source(ONE), MIB, 5)
    assert holds(backend.source(ONE), 2 * MIB, 0, SIZE - 2 * MIB)
    assert told == sorted(told)
    assert told[-1] == 100


def test_snapshots_keep_what_was_and_tell_what_changed(make: Make, with_snapshots: Backend) -> None:
    backend = with_snapshots
    backend.create(ONE, SIZE, progress=quietly)
    write(backend.source(ONE), 0, 1)
    for _ in range(2):
        assert backend.snapshot(ONE, OLD, quiesce=False) is None
    write(backend.source(ONE), 8 * MIB, 2)
    backend.extend(ONE, 2 * SIZE)
    backend.snapshot(ONE, NEW, quiesce=False)
    write(backend.source(ONE), 0, 3)
    backend = make()
    assert backend.seen(ONE).snapshots == (OLD, NEW)  # type: ignore[union-attr]
    assert (size(backend.frozen(ONE, OLD)), size(backend.frozen(ONE, NEW))) == (SIZE, 2 * SIZE)
    assert holds(backend.frozen(ONE, OLD), 0, 1)
    assert holds(backend.frozen(ONE, OLD), 8 * MIB, 0)
    assert holds(backend.frozen(ONE, NEW), 0, 1)
    assert holds(backend.frozen(ONE, NEW), 8 * MIB, 2)
    assert holds(backend.source(ONE), 0, 3)
    assert refused(lambda: backend.delete(ONE)) is ErrorCode.BAD_STATE
    assert refused(lambda: backend.frozen(ONE, TWO)) is ErrorCode.NOT_FOUND
    if Can.CHANGED in backend.can:
        changed = [extent for extent in backend.changed(ONE, NEW, since=OLD) or () if extent.offset < SIZE]
        # Ceph tells whole objects.
        assert MIB <= sum(extent.length for extent in changed) <= 4 * MIB
        assert all(8 * MIB <= extent.offset < 9 * MIB and not extent.zero for extent in changed)


def test_deleted_snapshots_change_nothing_else(with_snapshots: Backend) -> None:
    backend = with_snapshots
    backend.create(ONE, SIZE, progress=quietly)
    write(backend.source(ONE), 0, 1)
    backend.snapshot(ONE, OLD, quiesce=False)
    write(backend.source(ONE), MIB, 2)
    backend.snapshot(ONE, NEW, quiesce=False)
    write(backend.source(ONE), 2 * MIB, 3)
    for _ in range(2):
        backend.delete_snapshot(ONE, OLD, progress=quietly)
    assert backend.seen(ONE).snapshots == (NEW,)  # type: ignore[union-attr]
    for at, pattern in ((0, 1), (MIB, 2), (2 * MIB, 0)):
        assert holds(backend.frozen(ONE, NEW), at, pattern)
    backend.delete_snapshot(ONE, NEW, progress=quietly)
    for at, pattern in ((0, 1), (MIB, 2), (2 * MIB, 3), (3 * MIB, 0)):
        assert holds(backend.source(ONE), at, pattern)
    backend.delete(ONE)
    assert names(backend) == set()


def test_a_volume_is_turned_back_to_its_newest_snapshot(with_snapshots: Backend) -> None:
    backend = with_snapshots
    if Can.REVERT not in backend.can:
        pytest.skip("it does not turn back")
    backend.create(ONE, SIZE, progress=quietly)
    write(backend.source(ONE), 0, 1)
    backend.snapshot(ONE, OLD, quiesce=False)
    backend.snapshot(ONE, NEW, quiesce=False)
    write(backend.source(ONE), 0, 2)
    assert refused(lambda: backend.revert(ONE, OLD)) is ErrorCode.BAD_STATE
    for _ in range(2):
        backend.revert(ONE, NEW)
    assert holds(backend.source(ONE), 0, 1)
    write(backend.source(ONE), 0, 3)
    assert holds(backend.frozen(ONE, NEW), 0, 1)
    assert backend.seen(ONE).snapshots == (OLD, NEW)  # type: ignore[union-attr]


@pytest.mark.parametrize("origin_first", [True, False])
def test_a_clone_and_its_origin_are_apart(with_snapshots: Backend, origin_first: bool) -> None:
    backend = with_snapshots
    backend.create(ONE, SIZE, progress=quietly)
    write(backend.source(ONE), 0, 1)
    backend.snapshot(ONE, OLD, quiesce=False)
    write(backend.source(ONE), MIB, 2)
    backend.snapshot(ONE, NEW, quiesce=False)
    write(backend.source(ONE), 0, 9)
    for _ in range(2):
        backend.clone(TWO, 2 * SIZE, of=ONE, snapshot=NEW, progress=quietly)
    assert size(backend.source(TWO)) == 2 * SIZE
    write(backend.source(TWO), 2 * MIB, 3)
    if origin_first:
        for snapshot in (OLD, NEW):
            backend.delete_snapshot(ONE, snapshot, progress=quietly)
        assert holds(backend.source(ONE), 0, 9)
        backend.delete(ONE)
    else:
        backend.snapshot(TWO, ONE, quiesce=False)
        backend.delete_snapshot(TWO, ONE, progress=quietly)
    for at, pattern in ((0, 1), (MIB, 2), (2 * MIB, 3), (SIZE, 0)):
        assert holds(backend.source(TWO), at, pattern)
    backend.delete(TWO)
    if not origin_first:
        for at, pattern in ((0, 9), (MIB, 2), (2 * MIB, 0)):
            assert holds(backend.source(ONE), at, pattern)
        assert holds(backend.frozen(ONE, OLD), 0, 1)


def test_a_name_that_is_no_uuid_is_refused(backend: Backend) -> None:
    for name in ("..", "../x", "", OLD.upper(), f"{ONE}/"):
        for work in (
            lambda name=name: backend.create(name, SIZE, progress=quietly),
            lambda name=name: backend.delete(name),
        ):
            assert refused(work) is ErrorCode.PROTOCOL
