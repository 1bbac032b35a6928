"""Every backend's volumes and snapshots, read and written as streams by a real qemu-nbd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from hostd.spec import BackendSpec, Read, Write
from hostd.storage.volumes.backend import Can
from hostd.streams import Chunk
from hostd.streams.contents import HostDisks
from tests.contract.backends.stores import BACKEND, MIB, STORES, Make, Store, holds, write
from tests.hostd.test_stream import libnbd  # noqa: F401 (a fixture)

VOLUME, COPY, OLD, NEW = (f"{digit}1111111-1111-4222-8333-444444444444" for digit in "abcd")
SIZE = 64 * MIB
SPEC = BackendSpec(uuid=BACKEND, driver="file")


@pytest.fixture(params=STORES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    store: Store = request.param
    with store(tmp_path) as make:
        yield make


@pytest.mark.usefixtures("libnbd")
def test_what_is_read_and_written_back_is_the_same(make: Make, tmp_path: Path) -> None:
    backend = make()
    disks = HostDisks(
        backend=lambda spec: backend, export=lambda uuid: backend.source(uuid), holder=lambda volume: None, run=tmp_path
    )

    def read(asked: Read) -> tuple[bool, list[Chunk]]:
        with disks.reading(asked) as disk:
            assert disk.size == SIZE
            return disk.since, list(disk.chunks(asked.chunk))

    def put(volume: str, chunks: Iterable[Chunk]) -> None:
        with disks.writing(Write(volume=volume, backend=SPEC)) as disk:
            for chunk in chunks:
                if chunk.data is None:
                    disk.zero(chunk.offset, chunk.length)
                else:
                    disk.write(chunk.offset, memoryview(chunk.data))
            disk.flush()

    def frozen(snapshot: str, *, since: str | None = None) -> Read:
        return Read(subject="snapshot", uuid=snapshot, volume=VOLUME, backend=SPEC, since=since)

    for volume in (VOLUME, COPY):
        backend.create(volume, SIZE, progress=lambda percent: None)
    for at in (3 * MIB, SIZE - MIB):
        write(backend.source(VOLUME), at, 7)
    if Can.SNAPSHOT not in backend.can:
        _, whole = read(Read(subject="volume", uuid=VOLUME, backend=SPEC))
        put(COPY, whole)
        assert holds(backend.source(COPY), 3 * MIB, 7)
        return
    backend.snapshot(VOLUME, OLD, quiesce=False)
    write(backend.source(VOLUME), 4 * MIB, 8)
    write(backend.source(VOLUME), 3 * MIB, 0)
    backend.snapshot(VOLUME, NEW, quiesce=False)
    write(backend.source(VOLUME), 5 * MIB, 9)

    _, whole = read(frozen(OLD))
    assert [each.offset for each in whole if each.data is not None] == [3 * MIB, SIZE - MIB]
    put(COPY, whole)
    copied = backend.source(COPY)
    assert [holds(copied, at, value) for at, value in ((3 * MIB, 7), (SIZE - MIB, 7), (4 * MIB, 0))] == [True] * 3

    since, changed = read(frozen(NEW, since=OLD))
    assert since == (Can.CHANGED in backend.can)
    if since:
        assert sum(each.length for each in changed) <= 8 * MIB, "no more than what shares a block with the change"
    put(COPY, changed)
    copied = backend.source(COPY)
    expected = ((3 * MIB, 0), (4 * MIB, 8), (5 * MIB, 0), (SIZE - MIB, 7))
    assert [holds(copied, at, value) for at, value in expected] == [True] * 4
    _, now = read(Read(subject="volume", uuid=VOLUME, backend=SPEC))
    assert [each.offset for each in now if each.data is not None] == [4 * MIB, 5 * MIB, SIZE - MIB]
