"""Operations on volumes and snapshots, carried out by the engine over hosts in memory: what hosts have afterwards, and
what a failure leaves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from core.compute.instances import volumes as guests
from core.volumes import qos, snapshots, types, volumes
from core.volumes.tables import Backend, BackendHost, Snapshot, Volume
from hostd.memory.volumes import MemoryBackend
from hostd.spec import BackendSpec, ErrorCode, HostError
from tests.core.operations.rig import FakeLink, Rig, running
from tests.core.volumes.stock import Stock
from tests.core.world import GIB, World


@pytest.fixture
def database_url(home: Path, request: pytest.FixtureRequest) -> str:
    """SQLite alone: what PostgreSQL could do otherwise, the verbs' own tests see."""
    shutil.copy(request.getfixturevalue("sqlite_template"), home / "skydeck.db")
    return f"sqlite:///{home / 'skydeck.db'}"


def on(host: FakeLink, backend: str) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Volume to (GiB, snapshots), as the host has them."""
    driver = "nfs" if host.fake.pools.shared != host.fake.pools.own else "file"
    made = host.fake.volumes.backend(BackendSpec(uuid=backend, driver=driver))
    return {seen.uuid: (seen.size // GIB, seen.snapshots) for seen in made.volumes()}


class Bench:
    """A rig and its stock."""

    def __init__(self, rig: Rig, stock: Stock) -> None:
        self.rig, self.stock, self.world = rig, stock, rig.world
        (self.local,) = [row.id for row in self.world.rows(Backend) if row.name == "local"]

    async def done(self, verb: Any, *args: Any, state: str = "succeeded", **asked: Any) -> Any:
        """Ask, wait for the end, answer the operation."""
        with self.world.store.write() as session:
            answer = verb(session, self.world.admin, *args, **asked)
        operation = answer[1] if isinstance(answer, tuple) else answer
        ended = await self.rig.ended(operation)
        assert ended.state == state, ended.error
        return ended

    async def volume(self, **asked: Any) -> Volume:
        volume, operation = self.stock.create(**asked)
        ended = await self.rig.ended(operation)
        assert ended.state == "succeeded", ended.error
        return self.stock.volume(volume.id)

    async def snapshot(self, volume: Volume, **asked: Any) -> Snapshot:
        operation = await self.done(snapshots.create, volume=volume.id, **asked)
        return self.get(Snapshot, operation.object_id)

    def get(self, table: Any, id: str) -> Any:
        with self.world.store.read() as session:
            return session.get(table, id)

    def has(self, host: str = "h1") -> dict[str, tuple[int, tuple[str, ...]]]:
        return on(self.rig.hosts[host], self.local)


async def test_a_volumes_life(world: World, stock: Stock) -> None:
    async with running(world, hosts=2) as rig:
        bench = Bench(rig, stock)
        assert {(row.host_id, row.reachable, row.total_bytes) for row in world.rows(BackendHost)} == {
            (host.id, True, 1000 * GIB) for host in rig.hosts.values()
        }
        volume = await bench.volume(size_gb=2)
        assert (volume.status, volume.fault, volume.generation) == ("available", None, 1)
        where = "h1" if volume.host_id == rig.hosts["h1"].id else "h2"
        assert bench.has(where) == {volume.id: (2, ())}
        await bench.done(volumes.extend, volume.id, size_gb=3)
        assert bench.has(where)[volume.id] == (3, ())
        snapshot = await bench.snapshot(volume, name="first")
        assert (snapshot.status, snapshot.quiesced) == ("available", None)
        assert bench.has(where)[volume.id] == (3, (snapshot.id,))
        await bench.done(volumes.revert, volume.id, snapshot="first")
        assert (stock.volume(volume.id).status, bench.get(Snapshot, snapshot.id).status) == ("available", "available")
        clone = await bench.volume(name="clone", snapshot="first")
        assert (clone.size_gb, clone.host_id) == (3, volume.host_id)
        copy = await bench.volume(name="copy", source=volume.id, size_gb=4)
        assert (copy.status, copy.source_kind) == ("available", "volume")
        hidden = [row for row in world.rows(Snapshot) if row.hidden]
        assert [row.status for row in hidden] == ["deleted"], "what the copy was made through is gone"
        assert bench.has(where) == {volume.id: (3, (snapshot.id,)), clone.id: (3, ()), copy.id: (4, ())}
        await bench.done(volumes.delete, volume.id, cascade=True)
        gone = stock.volume(volume.id)
        assert gone.status == "deleted"
        assert gone.deleted_at > 0
        assert volume.id not in bench.has(where)
        assert bench.get(Snapshot, snapshot.id).deleted_at > 0


async def test_from_an_image(world: World, stock: Stock) -> None:
    async with running(world) as rig:
        bench = Bench(rig, stock)
        volume = await bench.volume(image="tiny")
        assert (volume.bootable, volume.size_gb, volume.source_kind) == (True, 1, "image")
        assert volume.image_properties["image_name"] == "tiny"
        assert rig.hosts["h1"].carried, "the image was brought to the host first"


async def test_under_a_guest(world: World, stock: Stock) -> None:
    """An extend, a snapshot and a change of limits reach the guest's host while the guest has the volume."""
    async with running(world, hosts=2) as rig:
        bench = Bench(rig, stock)
        volume = await bench.volume()
        name = next(name for name, link in rig.hosts.items() if link.id == volume.host_id)
        await rig.create(name="web", availability_zone=f"nova:{name}")
        await bench.done(guests.attach, world.config, "web", volume=volume.id)
        assert stock.volume(volume.id).status == "in-use"
        await bench.done(volumes.extend, volume.id, size_gb=5)
        assert stock.volume(volume.id).status == "in-use"
        assert bench.has(name)[volume.id][0] == 5
        snapshot = await bench.snapshot(volume, force=True, quiesce=True)
        assert (snapshot.status, snapshot.quiesced) == ("available", True)
        with world.store.write() as session:
            qos.create(session, world.admin, name="slow", specs={"total_iops_sec_per_gb": "100"})
            types.create(session, world.admin, name="slow")
            qos.associate(session, world.admin, "slow", "slow")
        await bench.done(volumes.retype, world.config, volume.id, type="slow")
        await rig.idle()
        told = [row for row in world.operations() if row.kind == "instance.update"]
        assert [row.state for row in told] == ["succeeded"]
        await bench.done(volumes.extend, volume.id, size_gb=6)
        assert [row.kind for row in world.operations()][-1] == "instance.update", "so many more a second, by its size"
        await rig.idle()
        await bench.done(guests.detach, "web", volume=volume.id)
        assert stock.volume(volume.id).status == "available"


async def test_what_failures_leave(world: World, stock: Stock) -> None:
    async with running(world) as rig:
        bench = Bench(rig, stock)
        down = rig.hosts["h1"].fake.pools.down
        broken = HostError(ErrorCode.STORAGE, "the disk is on fire", hint="Put it out.")

        def fault(thing: Any) -> Any:
            return thing.fault and thing.fault["title"]

        down[bench.local] = broken
        volume, operation = stock.create()
        ended = await rig.until(lambda: world.operation(operation.id).error)
        assert ended is not None
        assert "fire" in ended["title"]
        down.clear()
        await rig.idle()
        assert "fire" in fault(stock.volume(volume.id))
        assert stock.volume(volume.id).status == "error"
        stock.seen("local", rig.hosts["h1"].id)  # a look meanwhile may have found it burning
        volume = await bench.volume()
        snapshot = await bench.snapshot(volume, name="kept")
        down[bench.local] = broken
        await bench.done(volumes.extend, volume.id, size_gb=9, state="failed")
        after = stock.volume(volume.id)
        assert (after.status, after.size_gb) == ("error_extending", 1)
        assert "fire" in fault(after)
        assert after.fault is not None
        assert after.fault["operation"] == world.operations()[-1].id
        stock.put(volume.id, status="available")
        await bench.done(volumes.revert, volume.id, snapshot="kept", state="failed")
        assert (stock.volume(volume.id).status, bench.get(Snapshot, snapshot.id).status) == ("error", "available")
        await bench.done(snapshots.delete, "kept", state="failed")
        assert bench.get(Snapshot, snapshot.id).status == "error_deleting"
        stock.put(volume.id, status="available")
        await bench.done(volumes.delete, volume.id, cascade=True, state="failed")
        assert stock.volume(volume.id).status == "error_deleting"
        assert bench.get(Snapshot, snapshot.id).status == "error_deleting"
        down.clear()
        await bench.done(volumes.delete, volume.id, cascade=True)
        assert bench.has() == {}


async def test_a_retype_to_another_backend(world: World, stock: Stock, tmp_path: Path) -> None:
    async with running(world, hosts=2) as rig:
        bench = Bench(rig, stock)
        for link in rig.hosts.values():
            link.fake.pools.shared = tmp_path
        volume = await bench.volume(size_gb=2)
        shared = stock.add("nas")
        await rig.idle()
        assert {row.reachable for row in world.rows(BackendHost) if row.backend_id == shared} == {True}
        await bench.done(volumes.retype, world.config, volume.id, type="nas", migration_policy="on-demand")
        moved = stock.volume(volume.id)
        assert (moved.status, moved.backend_id, moved.host_id) == ("available", shared, None)
        assert [volume.id in on(link, shared) for link in rig.hosts.values()] == [True, True]
        assert [path.name for path in tmp_path.glob("*/*")] == [volume.id]
        for link in rig.hosts.values():
            assert not list(link.fake.pools.own.glob("*/*")), "the old one is gone"
        await bench.done(volumes.delete, volume.id)
        assert not list(tmp_path.glob("*/*"))


async def test_another_place_when_one_fails(world: World, stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    made_on: list[str] = []
    create = MemoryBackend.create

    def full_once(self: MemoryBackend, volume: str, *args: Any, **kwargs: Any) -> None:
        made_on.append(str(self._root))
        if len(made_on) == 1:
            raise HostError(ErrorCode.DISK_FULL, "no space left")
        create(self, volume, *args, **kwargs)

    monkeypatch.setattr(MemoryBackend, "create", full_once)
    async with running(world, hosts=2) as rig:
        bench = Bench(rig, stock)
        volume = await bench.volume()
        assert len(set(made_on)) == 2
        operation = world.operations()[-1]
        assert operation.data["tried"] == [f"{bench.local}@{rig.hosts['h1'].id}"]
        assert (operation.lane, volume.host_id) == (rig.hosts["h2"].id, rig.hosts["h2"].id)
        assert (bench.has("h1"), bench.has("h2")) == ({}, {volume.id: (1, ())})
        monkeypatch.setattr(MemoryBackend, "create", broken_create)
        failed, operation = stock.create()
        await rig.ended(operation)
        after = stock.volume(failed.id)
        assert after.fault is not None
        assert (after.status, after.fault["title"]) == ("error", "host h2: no space left")
        assert len(world.operation(operation.id).data["tried"]) == 1


def broken_create(self: MemoryBackend, *args: Any, **kwargs: Any) -> None:
    raise HostError(ErrorCode.DISK_FULL, "no space left")


async def test_another_host_acts_when_one_is_gone(world: World, stock: Stock, tmp_path: Path) -> None:
    async with running(world, hosts=2) as rig:
        bench = Bench(rig, stock)
        for link in rig.hosts.values():
            link.fake.pools.shared = tmp_path
        stock.add("nas")
        await rig.idle()
        volume = await bench.volume(type="nas")
        gone, other = rig.hosts["h1"], rig.hosts["h2"]
        await rig.disconnect(gone)
        with world.store.write() as session:
            operation = volumes.extend(session, world.admin, volume.id, size_gb=2)
            operation.lane = gone.id  # as if it had gone a moment later
        ended = await rig.ended(operation)
        assert (ended.state, ended.lane) == ("succeeded", other.id)
        assert on(other, stock.volume(volume.id).backend_id)[volume.id] == (2, ())
