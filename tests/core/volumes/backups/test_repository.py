"""The repository: what was backed up is what is restored, whatever is interrupted, swept or done at once."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import Unknown
from core.hosts.bulk import Extent
from core.objects import Full, ObjectStore
from core.objects.files import FileObjects
from core.volumes.backups import copying
from core.volumes.backups.copying import Stored
from core.volumes.backups.manifest import Manifest
from core.volumes.backups.repository import LEASE, Damaged, Repository
from hostd.spec import Reading

CHUNK = 64
SIZE = 12 * CHUNK + 10
COUNT = 13


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """A store whose process dies before its n-th change, or whose disk is full from then on."""

    def __init__(self, store: ObjectStore, *, dies_at: int = -1, full_at: int = -1) -> None:
        self._store = store
        self.dies_at, self.full_at = dies_at, full_at
        self.changes = 0
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _change(self, *, takes_room: bool) -> None:
        with self._lock:
            self.changes += 1
            if 0 <= self.dies_at < self.changes:
                raise Killed
            if takes_room and 0 <= self.full_at < self.changes:
                raise Full("it is full")

    def put(self, name: str, source: bytes | BinaryIO, *, size: int | None = None) -> int:
        self._change(takes_room=len(source) > 50 if isinstance(source, bytes) else True)
        return self._store.put(name, source, size=size)

    def delete(self, name: str) -> None:
        self._change(takes_room=False)
        self._store.delete(name)


class World:
    """A repository, a disk and the backups that were made of it."""

    def __init__(self, root: Path) -> None:
        self.now = 1000.0
        self.files = FileObjects(root)
        self.disk = bytearray(SIZE)
        self.dirty: set[int] = set()
        self.last: Manifest | None = None
        self.cuts: list[int] = []
        """Chunks before which the stream is cut."""
        self.opened: list[int] = []
        self.made: dict[str, tuple[str, bytes]] = {}

    def repository(self, store: Any = None) -> Repository:
        return Repository(store or self.files, clock=lambda: self.now, pause=lambda _: self.wait())

    def wait(self) -> None:
        self.now += 1

    def write(self, offset: int, data: bytes) -> None:
        data = data[: SIZE - offset]
        self.disk[offset : offset + len(data)] = data
        self.dirty |= set(range(offset // CHUNK, (offset + max(0, len(data) - 1)) // CHUNK + 1)) if data else set()

    async def extents(self, numbers: Iterator[int]) -> AsyncIterator[Extent]:
        for number in numbers:
            data = bytes(self.disk[number * CHUNK : (number + 1) * CHUNK])
            if number in self.cuts:
                self.cuts.remove(number)
                raise Unknown("cut")
            yield Extent(number * CHUNK, len(data), data if any(data) else None)

    def stream(self, numbers: Iterable[int], *, since: bool) -> copying.Open:
        @contextlib.asynccontextmanager
        async def open(begin: int) -> AsyncIterator[tuple[Reading, AsyncIterator[Extent]]]:
            left = iter([number for number in numbers if number * CHUNK >= begin])
            self.opened.append(begin)
            yield Reading(size=SIZE, since=since), self.extents(left)

        return open

    def backup(self, name: str, *, incremental: bool = False, store: Any = None) -> Stored:
        repository = self.repository(store)
        numbers = sorted(self.dirty) if incremental else range(COUNT)
        parent = self.last if incremental else None
        about = Manifest(
            backup=name, volume="v", size=SIZE, chunk=CHUNK, at=1,
            parent=parent.backup if parent else None, chunks={},
        )  # fmt: skip
        stored = asyncio.run(
            copying.store(
                repository,
                self.stream(numbers, since=incremental),
                about=about,
                parent=parent,
                progress=lambda *_: None,
            )
        )
        self.made[name] = (stored.digest, bytes(self.disk))
        self.last = self.repository().manifest(name, stored.digest)
        self.dirty.clear()
        return stored

    def restored(self, name: str, *, zeros: bool = True) -> bytes:
        repository = self.repository()
        manifest = repository.manifest(name, self.made[name][0])
        disk = bytearray(b"\xff" * SIZE if zeros else SIZE)

        async def restore() -> None:
            at = 0
            async for extent in copying.contents(repository, manifest, zeros=zeros, progress=lambda *_: None):
                assert extent.offset >= at, "extents come in order"
                at = extent.offset + extent.length
                disk[extent.offset : at] = extent.data or bytes(extent.length)

        asyncio.run(restore())
        return bytes(disk)

    def check(self) -> None:
        """Every backup is what the disk was, and after a sweep nothing else is kept."""
        for name, (_, contents) in self.made.items():
            assert self.restored(name) == contents
            assert self.restored(name, zeros=False) == contents
        self.now += LEASE + 1
        assert self.repository().sweep() is not None
        named = set()
        for name, (digest, _) in self.made.items():
            named |= {found.hex() for found in self.repository().manifest(name, digest).chunks.values()}
        assert {name.rpartition("/")[2] for name in self.files.list("chunks/")} == named
        assert not [*self.files.list("running/"), *self.files.list("sweeping/"), *self.files.list("unswept")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "repository")


writes = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.binary(max_size=3 * CHUNK) | st.just(bytes(2 * CHUNK))), max_size=4
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.tuples(writes, st.booleans(), st.booleans()), min_size=1, max_size=5), number=st.integers(0))
def test_a_chain_is_what_the_disk_was(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[Any, bool, bool]], number: int
) -> None:
    world = World(tmp_path_factory.mktemp("r"))
    for turn, (changes, incremental, drop_oldest) in enumerate(rounds):
        for offset, data in changes:
            world.write(offset, data)
        world.backup(f"b{turn}", incremental=incremental and world.last is not None)
        if drop_oldest and len(world.made) > 1:
            # Nothing of a parent is needed by its increments.
            oldest = next(iter(world.made))
            world.repository().forget(oldest)
            del world.made[oldest]
    world.check()


def test_an_incremental_backup_costs_what_changed(world: World) -> None:
    noise = random.Random(1).randbytes
    world.write(0, noise(SIZE))
    full = world.backup("full")
    world.write(5 * CHUNK, noise(2))
    more = world.backup("more", incremental=True)
    assert (full.chunks, more.chunks) == (COUNT, COUNT)
    assert 0 < more.added <= CHUNK + 20 < full.added
    assert world.backup("again").added == 0
    world.check()


def test_a_stream_that_is_cut_goes_on_where_it_was(world: World) -> None:
    world.write(0, random.Random(1).randbytes(SIZE))
    world.cuts = [0, 3, 7, 7, 12]
    world.backup("first")
    assert world.opened == [0, 0, 3 * CHUNK, 7 * CHUNK, 7 * CHUNK, 12 * CHUNK]
    world.write(2 * CHUNK, b"changed" * 60)
    world.cuts = [4]
    world.backup("second", incremental=True)
    world.cuts = [5] * copying.TRIES
    with pytest.raises(Unknown):
        world.backup("third")
    world.check()


def test_killed_anywhere_and_tried_again(tmp_path: Path) -> None:
    for dies_at in range(1000):
        world = World(tmp_path / str(dies_at))
        world.write(0, random.Random(2).randbytes(6 * CHUNK))
        world.backup("first")
        world.write(3 * CHUNK, b"changed" * 60)
        before, dirty = dict(world.made), set(world.dirty)
        mortal = Mortal(world.files, dies_at=dies_at)
        try:
            world.backup("second", incremental=True, store=mortal)
        except Killed:
            assert world.made == before
            assert world.restored("first") == before["first"][1]
            world.dirty = dirty
            world.backup("second", incremental=True)  # the next engine goes on at once: the lease of before is dead
            world.check()
        else:
            assert dies_at > 5
            return
    raise AssertionError("it never ends")


def test_killed_while_sweeping_or_forgetting(tmp_path: Path) -> None:
    for dies_at in range(1000):
        world = World(tmp_path / str(dies_at))
        world.write(0, random.Random(3).randbytes(4 * CHUNK))
        world.backup("first")
        world.write(0, random.Random(4).randbytes(2 * CHUNK))
        world.backup("second", incremental=True)
        del world.made["first"]
        repository = world.repository(Mortal(world.files, dies_at=dies_at))
        try:
            repository.forget("first")
            repository.sweep()
        except Killed:
            world.repository().forget("first")
            world.check()
        else:
            assert dies_at > 3
            return


def test_a_full_repository_gives_back_what_it_took(world: World) -> None:
    noise = random.Random(1).randbytes
    world.write(0, noise(3 * CHUNK))
    world.backup("first")
    world.write(4 * CHUNK, noise(5 * CHUNK))
    kept = set(world.files.list())
    small = Mortal(world.files, full_at=4)
    with pytest.raises(Full):
        world.backup("second", incremental=True, store=small)
    assert set(world.files.list()) > kept
    repository = world.repository(small)
    repository.forget("second")
    swept = repository.sweep()
    assert swept is not None
    assert swept.chunks > 0
    assert set(world.files.list()) == kept
    world.check()


def test_a_sweep_waits_for_writers_and_writers_for_sweeps(world: World) -> None:
    world.write(0, random.Random(1).randbytes(SIZE))
    world.backup("first")
    repository = world.repository()
    writer = repository.begin("second")
    found, added = writer.put(world.disk[:CHUNK])
    assert added == 0
    repository.forget("first")
    del world.made["first"]
    assert repository.sweep() is None
    assert repository.chunk(dataclasses.replace(world.last, chunks={0: found}), 0) == world.disk[:CHUNK]  # type: ignore[type-var]
    writer.end()
    assert repository.sweep_if_wanted() is not None
    assert repository.sweep_if_wanted() is None
    # A sweeper that stays: its announcement runs out before the writer goes on.
    world.files.put("sweeping/dead", b'{"until": %d}' % (world.now + 50))
    began = world.now
    repository.begin("third").end()
    assert world.now >= began + 50
    world.check()


def test_who_was_away_for_too_long_stops(world: World) -> None:
    writer = world.repository().begin("slow")
    world.now += LEASE - 1
    with pytest.raises(Unknown):
        writer.put(b"x")
    assert world.repository().sweep() is None
    world.now += 2
    assert world.repository().sweep() is not None


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone", "other"])
def test_a_damaged_chunk_is_found_and_named(world: World, harm: str) -> None:
    world.write(0, random.Random(1).randbytes(SIZE))
    world.backup("first")
    assert world.last is not None
    name = next(name for name in world.files.list("chunks/") if name.endswith(world.last.chunks[7].hex()))
    data = world.files.read(name)
    if harm == "gone":
        world.files.delete(name)
    else:
        other = world.files.read(next(each for each in world.files.list("chunks/") if each != name))
        world.files.put(
            name, {"flipped": data[:-3] + bytes([data[-3] ^ 1]) + data[-2:], "cut": data[:9]}.get(harm, other)
        )
    repository = world.repository()
    with pytest.raises(Damaged, match=f"backup first cannot be read at byte {7 * CHUNK}"):
        asyncio.run(copying.check(repository, world.last, lambda *_: None))
    with pytest.raises(Damaged, match=f"at byte {7 * CHUNK}"):
        world.restored("first")
    if harm in ("cut", "gone"):
        world.backup("second")  # a new full one stores it anew
        world.check()


def test_a_damaged_manifest_is_found_and_stops_the_sweep(world: World) -> None:
    world.write(0, b"x" * 300)
    stored = world.backup("first")
    repository = world.repository()
    world.files.put("chunks/aa/nobodys", b"")
    for harm in (b"garbage", b""):
        world.files.put(f"manifests/first/{stored.digest}", harm)
        with pytest.raises(Damaged, match="manifest of backup first"):
            repository.manifest("first", stored.digest)
        with pytest.raises(Damaged):
            repository.sweep()
    assert world.files.exists("chunks/aa/nobodys")
    repository.forget("first")
    with pytest.raises(Damaged, match="backup first is not in"):
        repository.manifest("first", stored.digest)
    assert repository.sweep() is not None
    assert list(world.files.list("chunks/")) == []


def test_eight_clients_at_once(tmp_path: Path) -> None:
    """Backups of much the same contents are made, deleted and swept side by side; nothing that stays is harmed."""
    files = FileObjects(tmp_path)

    def client(number: int) -> list[tuple[str, str]]:
        dice = random.Random(number)
        made: list[tuple[str, str]] = []
        for turn in range(6):
            repository = Repository(files)
            writer = repository.begin(f"b{number}.{turn}")
            contents = [dice.choice((b"a", b"b", b"c", b"d", b"e")) * CHUNK for _ in range(4)]
            chunks = {index: writer.put(data)[0] for index, data in enumerate(contents)}
            manifest = Manifest(
                backup=f"b{number}.{turn}", volume="v", size=4 * CHUNK, chunk=CHUNK, at=1, parent=None, chunks=chunks
            )
            made.append((manifest.backup, writer.finish(manifest)))
            writer.end()
            if len(made) > 1 and dice.random() < 0.5:
                repository.forget(made.pop(0)[0])
                repository.sweep()
        return made

    with ThreadPoolExecutor(8) as clients:
        kept = [found for made in clients.map(client, range(8)) for found in made]
    repository = Repository(files)
    assert repository.sweep() is not None
    named = set()
    for backup, digest in kept:
        manifest = repository.manifest(backup, digest)
        asyncio.run(copying.check(repository, manifest, lambda *_: None))
        named |= set(manifest.chunks.values())
    assert len(list(files.list("chunks/"))) == len(named)


def test_manifests_are_small_and_keep_every_number() -> None:
    chunks = {number: bytes([number % 256]) * 32 for number in (0, 1, 2, 5, 1000)}
    manifest = Manifest(backup="b", volume="v", size=1001 * CHUNK, chunk=CHUNK, at=7, parent="p", chunks=chunks)
    assert Manifest.unpacked(manifest.packed()) == manifest
    assert list(manifest.zeros()) == [(3 * CHUNK, 5 * CHUNK), (6 * CHUNK, 1000 * CHUNK)]
