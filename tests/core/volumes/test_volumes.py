"""Verbs of volumes: what each checks before anything is changed, and what its acceptance leaves."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest

from core import cloud
from core.config import Config
from core.context import Context
from core.errors import Conflict, Forbidden, Invalid, NotFound, NoValidHost, QuotaExceeded, SkydeckError, Unavailable
from core.hosts.hosts import Host
from core.identity import quotas
from core.operations.operations import Operation
from core.volumes import guards, snapshots, transfers, types, volumes
from core.volumes.tables import Snapshot, Volume, VolumeTransfer
from tests.core.volumes.stock import Stock
from tests.core.world import World


@pytest.fixture
def here(world: World, stock: Stock) -> str:
    """A host that keeps volumes; its id."""
    host = world.host()
    stock.seen("local", host)
    return host


@pytest.fixture
def me(world: World) -> Context:
    return world.someone("member")


def limit(world: World, ctx: Context, **limits: int) -> None:
    with world.store.write() as session:
        quotas.update(session, world.admin, ctx.project_id, ctx.project_name, limits)


def refused(
    world: World, kind: type[SkydeckError], verb: Any, *args: Any, ctx: Context | None = None, **asked: Any
) -> str:
    """The title and hint with which a verb is refused; nothing of it is kept."""
    before = [(row.id, row.status) for row in world.rows(Volume)], len(world.operations()), len(world.events())
    with pytest.raises(kind) as bad, world.store.write() as session:
        verb(session, ctx or world.admin, *args, **asked)
    assert (
        [(row.id, row.status) for row in world.rows(Volume)],
        len(world.operations()),
        len(world.events()),
    ) == before
    return f"{bad.value.title}. {bad.value.hint}"


def test_an_empty_volume_is_promised(world: World, stock: Stock, here: str, me: Context) -> None:
    volume, operation = stock.create(me, name="", size_gb=3, properties={"tier": "gold"}, description="mine")
    assert (volume.status, volume.size_gb, volume.host_id, volume.availability_zone) == ("creating", 3, here, "nova")
    assert (volume.bootable, volume.read_only, volume.multiattach, volume.source_kind) == (False, False, False, "")
    assert (operation.kind, operation.object_id, operation.lane, operation.project_id) == (
        "volume.create", volume.id, here, me.project_id,
    )  # fmt: skip
    assert operation.data["funnel"]["ranked"] == [["local@h1", 1.0]]
    (event,) = world.events("volume.create")
    assert event.after == {"size_gb": 3, "type": types.DEFAULT, "backend": "local"}
    assert event.object_name == volume.id, "what has no name goes by its id"


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({}, Invalid, "an empty volume needs a size"),
        ({"size_gb": 0}, Invalid, "cannot have 0 GiB"),
        ({"size_gb": 1, "name": " x"}, Invalid, "without blanks"),
        ({"size_gb": 1, "type": "gold"}, NotFound, "no volume type 'gold'"),
        ({"size_gb": 1, "image": "big", "snapshot": "x"}, Invalid, "made from one thing"),
        ({"image": "nope"}, NotFound, "no image"),
        ({"image": "big", "size_gb": 4}, Invalid, "image big needs 5 GiB, 4 are wanted"),
        ({"image": "kernel"}, Invalid, "no disk"),
        ({"size_gb": 1, "properties": {"k": "v" * 256}}, Invalid, "at most 255 characters"),
        ({"size_gb": 5000}, QuotaExceeded, "gigabytes: 0 of 1000 used, 5000 more wanted"),
        ({"size_gb": 1, "availability_zone": "moon"}, NoValidHost, "filtered: 1 by availability_zone"),
        ({"size_gb": 1, "source": "nothing"}, NotFound, "no volume 'nothing'"),
    ],
)
def test_what_a_create_refuses(
    world: World, here: str, asked: dict[str, Any], kind: type[SkydeckError], words: str
) -> None:
    world.image("big", min_disk_gb=5)
    world.image("kernel", data=b"kernel", disk_format="aki")
    assert words in refused(world, kind, volumes.create, world.config, **asked)


def test_sources(world: World, stock: Stock, here: str, me: Context) -> None:
    world.image("big", min_disk_gb=5, properties={"os_type": "linux"})
    volume = stock.made(me, image="big")
    assert (volume.size_gb, volume.bootable, volume.source_kind) == (5, True, "image")
    assert volume.image_properties["os_type"] == "linux"
    assert volume.image_properties["min_disk"] == "5"
    copied, operation = stock.create(me, source=volume.id, name="copy")
    assert (copied.size_gb, copied.bootable, copied.image_properties) == (5, True, volume.image_properties)
    (through,) = world.rows(Snapshot)
    assert (through.hidden, through.id, through.status) == (True, operation.data["through"], "creating")
    assert "is being copied" in refused(world, Conflict, volumes.delete, volume.id)
    assert "a snapshot for a copy" in refused(world, Conflict, volumes.extend, volume.id, size_gb=6)
    stock.put(copied.id, status="available")
    with world.store.write() as session:
        session.get_one(Snapshot, through.id).deleted_at = 1
    taken = stock.snapshot(volume, name="taken")
    cloned, _ = stock.create(me, snapshot="taken", size_gb=6)
    assert (cloned.size_gb, cloned.bootable, cloned.source_id) == (6, True, taken.id)
    assert "is being copied" in refused(world, Conflict, snapshots.delete, "taken", ctx=me)
    assert "another project's" in refused(world, Invalid, volumes.create, world.config, source=volume.id)
    assert "needs 5 GiB" in refused(world, Invalid, volumes.create, world.config, source=volume.id, size_gb=2, ctx=me)


def test_a_refusal_by_placement_keeps_its_funnel(world: World, stock: Stock, here: str) -> None:
    stock.seen("local", here, free=2)
    with pytest.raises(NoValidHost) as bad:
        volumes.create_kept(world.store, world.config, world.admin, name="big", size_gb=100)
    assert "1 by capacity" in bad.value.title
    assert "local@h1: needs 100 GiB, may still promise 0 GiB (free 2 of 1000 GiB" in bad.value.hint
    (operation,) = world.operations()
    assert (operation.id, operation.state, operation.kind) == (bad.value.operation_id, "failed", "volume.create")
    assert operation.data["funnel"]["rejected"]["local@h1"]["filter"] == "capacity"
    assert world.rows(Volume) == []


def test_names_and_projects(world: World, stock: Stock, here: str, me: Context) -> None:
    first = stock.made(me)
    other = world.someone("member", project="other")
    with world.store.read() as session:
        assert volumes.find(session, me, "data").id == first.id
        assert volumes.find(session, world.admin, first.id).id == first.id
        for ctx, wanted in ((other, first.id), (world.admin, "data"), (me, "")):
            with pytest.raises(NotFound):
                volumes.find(session, ctx, wanted)
    stock.made(me)
    with world.store.read() as session, pytest.raises(Invalid, match="2 volumes are named"):
        volumes.find(session, me, "data")
    assert "needs the role member" in refused(
        world, Forbidden, volumes.delete, first.id, ctx=world.someone("reader", name="r")
    )


def test_every_guard_by_state(world: World, stock: Stock, here: str) -> None:
    """Semantics F: from each state each verb is accepted, or refused naming the state."""
    states = {status for guard in guards.GUARDS.values() for status in (*guard.states, *guard.forced)} | {
        "creating", "attaching", "detaching", "deleting", "awaiting-transfer", "backing-up", "maintenance",
    }  # fmt: skip
    volume = stock.made()
    for verb, guard in guards.GUARDS.items():
        for status in sorted(states):
            for force in (False, True):
                stock.put(volume.id, status=status)
                allowed = status in guard.states or (force and status in guard.forced)
                with world.store.write() as session:
                    row = session.get_one(Volume, volume.id)
                    if allowed:
                        guards.begin(session, world.admin, row, verb, force=force)
                        assert row.status == (guard.task or status)
                        assert guard.task is None or row.previous_status == status
                    else:
                        with pytest.raises(Conflict, match=f"is {status}"):
                            guards.begin(session, world.admin, row, verb, force=force)
                        assert row.status == status


def test_extend(world: World, stock: Stock, here: str, me: Context) -> None:
    limit(world, me, gigabytes=10)
    volume = stock.made(me, size_gb=4)
    assert "only grows" in refused(world, Invalid, volumes.extend, volume.id, size_gb=4)
    assert "4 of 10 used, 7 more" in refused(world, QuotaExceeded, volumes.extend, volume.id, size_gb=11, ctx=me)
    assert "4 of 10 used" in refused(world, QuotaExceeded, volumes.extend, volume.id, size_gb=11), (
        "its own quota counts"
    )
    with world.store.write() as session:
        operation = volumes.extend(session, me, volume.id, size_gb=10)
    assert (operation.args, operation.data, operation.lane) == ({"size_gb": 10}, {"had_gb": 4}, here)
    after = stock.volume(volume.id)
    assert (after.status, after.size_gb, after.previous_status) == ("extending", 10, "available")
    assert "10 of 10 used" in refused(world, QuotaExceeded, volumes.create, world.config, size_gb=1, ctx=me)
    stock.put(volume.id, status="available")
    stock.seen("local", here, total=20, free=20, capabilities=["snapshot"])
    limit(world, me, gigabytes=100)
    assert "can promise 19 GiB more" in refused(world, Conflict, volumes.extend, volume.id, size_gb=50, ctx=me)


def test_delete(world: World, stock: Stock, here: str, me: Context) -> None:
    volume = stock.made(me)
    instance = world.settled(me, image="tiny") if world.image() else None
    assert instance is not None
    stock.attach(volume, instance.id)
    for force in (False, True):
        assert "is attached to web on host h1" in refused(world, Conflict, volumes.delete, volume.id, force=force)
    stock.detach(volume)
    taken = stock.snapshot(volume)
    assert "has 1 snapshots. Delete them first, or with it: --cascade." in refused(
        world, Conflict, volumes.delete, volume.id
    )
    with world.store.write() as session:
        first = volumes.delete(session, me, volume.id, cascade=True)
        assert volumes.delete(session, me, volume.id).id == first.id, "deleting twice is once"
    assert stock.volume(volume.id).status == "deleting"
    with world.store.read() as session:
        assert session.get_one(Snapshot, taken.id).status == "deleting"
    stuck, create = stock.create(me)
    assert "volume:force_delete" in refused(world, Forbidden, volumes.delete, stuck.id, force=True, ctx=me)
    with world.store.write() as session:
        volumes.delete(session, world.admin, stuck.id, force=True)
    assert stock.volume(stuck.id).status == "deleting"
    assert world.operation(create.id).cancel
    offered = stock.made(me)
    with world.store.write() as session:
        transfers.create(session, me, volume=offered.id)
        volumes.delete(session, world.admin, offered.id, force=True)
    assert world.rows(VolumeTransfer) == []


def test_set_and_unset(world: World, stock: Stock, here: str, me: Context) -> None:
    volume = stock.made(me, properties={"a": "1"})
    with world.store.write() as session:
        volumes.set(session, me, volume.id, name="new", bootable=True, properties={"b": "2"}, read_only=True)
        volumes.unset(session, me, "new", properties=("a",))
    after = stock.volume(volume.id)
    assert (after.name, after.bootable, after.read_only, after.properties) == ("new", True, True, {"b": "2"})
    assert [event.after for event in world.events("volume.set")] == [
        {"name": "new", "bootable": True, "read_only": True, "properties": {"a": "1", "b": "2"}},
        {"properties": {"b": "2"}},
    ]
    assert "there is no property 'a'" in refused(world, Invalid, volumes.unset, "new", properties=("a",), ctx=me)
    stock.put(volume.id, status="in-use")
    assert "is in-use, it must be available" in refused(world, Conflict, volumes.set, "new", read_only=False, ctx=me)


def test_revert_is_to_the_newest_alone(world: World, stock: Stock, here: str) -> None:
    volume = stock.made(size_gb=2)
    old, new = stock.snapshot(volume, name="old"), stock.snapshot(volume, name="new")
    assert "snapshot new is newer" in refused(world, Conflict, volumes.revert, volume.id, snapshot="old")
    other = stock.made(name="other")
    assert "of another volume" in refused(world, Invalid, volumes.revert, other.id, snapshot="new")
    stock.put(volume.id, size_gb=3)
    assert "at its snapshot it had 2" in refused(world, Invalid, volumes.revert, volume.id, snapshot="new")
    stock.put(volume.id, size_gb=2)
    with world.store.write() as session:
        volumes.revert(session, world.admin, volume.id, snapshot="new")
    assert stock.volume(volume.id).status == "reverting"
    assert [row.status for row in world.rows(Snapshot, Snapshot.number)] == ["available", "restoring"]
    stock.put(volume.id, status="available")
    assert "is restoring" in refused(world, Conflict, volumes.extend, volume.id, size_gb=9)
    assert {old.number, new.number} == {1, 2}


def test_retype(world: World, stock: Stock, here: str, me: Context) -> None:
    volume = stock.made(me)
    stock.add("nas", hosts=(here,))
    with world.store.write() as session:
        types.create(session, world.admin, name="plain")
        types.create(session, world.admin, name="many", extra_specs={"multiattach": "<is> True"})
    retype = {"ctx": me, "type": "nas"}
    assert "is of type" in refused(world, Invalid, volumes.retype, world.config, volume.id, ctx=me, type=types.DEFAULT)
    assert "needs another backend: local@h1: the type wants backend nas" in refused(
        world, Conflict, volumes.retype, world.config, volume.id, **retype
    )
    limit(world, me, volumes_nas=0)
    far = {**retype, "migration_policy": "on-demand"}
    assert "volumes_nas" in refused(world, QuotaExceeded, volumes.retype, world.config, volume.id, **far)
    limit(world, me, volumes_nas=5)
    stock.put(volume.id, status="in-use")
    assert "only while nobody has it" in refused(world, Conflict, volumes.retype, world.config, volume.id, **far)
    assert "changes only while none has" in refused(
        world, Conflict, volumes.retype, world.config, volume.id, ctx=me, type="many"
    )
    stock.put(volume.id, status="available")
    with world.store.write() as session:
        operation = volumes.retype(session, me, world.config, volume.id, type="nas", migration_policy="on-demand")
    move = operation.data["move"]
    assert (move["from_host"], move["host"], operation.lane) == (here, None, here)
    stock.put(volume.id, status="available")
    with world.store.write() as session:
        operation = volumes.retype(session, me, world.config, volume.id, type="many")
    assert "move" not in operation.data
    assert stock.volume(volume.id).multiattach


def test_quota_of_each_type(world: World, stock: Stock, here: str, me: Context) -> None:
    with world.store.write() as session:
        types.create(session, world.admin, name="ssd")
    limit(world, me, volumes_ssd=1, gigabytes_ssd=5, snapshots_ssd=1)
    volume = stock.made(me, type="ssd", size_gb=2)
    assert "volumes_ssd: 1 of 1 used" in refused(
        world, QuotaExceeded, volumes.create, world.config, size_gb=1, type="ssd", ctx=me
    )
    stock.made(me, name="other", size_gb=9)
    stock.snapshot(volume)
    why = refused(world, QuotaExceeded, snapshots.create, volume=volume.id, ctx=me)
    assert "snapshots_ssd: 1 of 1" in why
    assert "--volume-type ssd --snapshots 2" in why
    assert "gigabytes_ssd: 4 of 5" in refused(world, QuotaExceeded, volumes.extend, volume.id, size_gb=4, ctx=me)
    limit(world, me, per_volume_gigabytes=8)
    assert "at most 8 GiB" in refused(world, QuotaExceeded, volumes.create, world.config, size_gb=9, ctx=me)
    with world.store.write() as session:
        types.set(session, world.admin, "ssd", name="flash")
        shown = {row.resource: (row.used, row.limit) for row in quotas.show(session, me, me.project_id)}
    assert {key: value for key, value in shown.items() if key.endswith("_flash")} == {
        "volumes_flash": (1, 1), "gigabytes_flash": (4, 5), "snapshots_flash": (1, 1),
    }  # fmt: skip
    assert (shown["volumes"], shown["gigabytes"], shown["snapshots"]) == ((2, 10), (13, 1000), (1, 10))


def test_nobody_acts_when_no_host_is_up(world: World, stock: Stock, here: str) -> None:
    stock.add("nas", hosts=(here,))
    volume = stock.made(type="nas")
    with world.store.write() as session:
        session.get_one(Host, here).state = "down"
    assert "no host reaches nas now" in refused(world, Unavailable, volumes.extend, volume.id, size_gb=2)


def _writer(home: Any, url: str, number: int, results: Any) -> None:
    """Asks for volumes and larger ones until the quota refuses; says how much it got."""
    config = Config(home=home, database_url=url)
    store = cloud.open_store(config)
    got = 0
    with store.read() as session:
        ctx = cloud.context(session, config, source="cli")
    for _ in range(12):
        try:
            with store.write() as session:
                volume, _operation = volumes.create(session, ctx, config, name=f"w{number}", size_gb=3)
                got += volume.size_gb
        except QuotaExceeded:
            continue
    store.close()
    results.put(got)


def test_eight_writers_stay_within_the_quota(world: World, stock: Stock, here: str) -> None:
    limit(world, world.admin, volumes=1000, gigabytes=100)
    forking = multiprocessing.get_context("fork")
    results: Any = forking.Queue()
    arguments = (world.config.home, world.config.database_url)
    writers = [forking.Process(target=_writer, args=(*arguments, number, results)) for number in range(8)]
    for writer in writers:
        writer.start()
    got = sum(results.get(timeout=60) for _ in writers)
    for writer in writers:
        writer.join()
    assert got == sum(row.size_gb for row in world.rows(Volume)) == 99
    assert len([row for row in world.rows(Operation) if row.kind == "volume.create"]) == 33
