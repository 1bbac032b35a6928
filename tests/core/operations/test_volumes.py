"""Volumes on their way into guests and out of them: with the engine, over hosts in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from sqlmodel import col

from core.compute.instances import volumes
from core.compute.instances.block_devices import BlockDevice
from core.operations import engine
from core.operations.operations import Operation
from core.volumes import attachments, backends
from core.volumes import volumes as blocks
from core.volumes.tables import Backend, Volume
from hostd.spec import Act, Acted, BackendSeen, ErrorCode, HostError, dump, load
from tests.core.compute.stores import attached, reaches, status
from tests.core.operations.rig import FakeLink, Rig, running
from tests.core.world import World

ROOT = BlockDevice(source_type="image", uuid="tiny", destination_type="volume", boot_index=0, size_gb=1)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(engine, "FIRST_BACKOFF", 500)
    monkeypatch.setattr(engine, "LONGEST_BACKOFF", 30_000)
    monkeypatch.setattr(engine, "LOOK", 0.02)
    return iter((None,))  # type: ignore[return-value]


def broken(message: str, code: ErrorCode = ErrorCode.LIBVIRT) -> HostError:
    return HostError(code, message)


async def data(rig: Rig, name: str = "data") -> str:
    """A volume that its operation has made; the id."""
    with rig.world.store.write() as session:
        volume, operation = blocks.create(session, rig.world.admin, rig.world.config, name=name, size_gb=1)
    assert (await rig.ended(operation)).state == "succeeded"
    return volume.id


def attach(world: World, server: str = "web", volume: str = "data", **more: Any) -> Operation:
    with world.store.write() as session:
        return volumes.attach(session, world.admin, world.config, server, volume=volume, **more)


def detach(world: World, server: str = "web", volume: str = "data") -> Operation:
    with world.store.write() as session:
        return volumes.detach(session, world.admin, server, volume=volume)


def inside(link: FakeLink, world: World, server: str = "web") -> list[str]:
    """Volumes that the guest has."""
    record = link.fake.guests.seen(world.instance(server).id) or {}
    return [disk["volume"] for disk in record.get("volumes", ())]


async def kept(link: FakeLink, world: World) -> set[str]:
    """What the host keeps in the local backend."""
    (backend,) = world.rows(Backend)
    asked = Act(request="look", verb="storage_seen", uuid=link.id, args={"backends": [dump(backends.spec_of(backend))]})
    acted: Acted = await link.call("act", asked, deadline=1)
    (seen,) = [load(BackendSeen, one) for one in acted.detail["backends"]]
    return {one.uuid for one in seen.volumes}


def looked(rig: Rig) -> None:
    for link in rig.hosts.values():
        reaches(rig.world, link.id)


async def test_a_guest_gets_a_volume_and_gives_it_back(world: World) -> None:
    async with running(world) as rig:
        looked(rig)
        await rig.create()
        id = await data(rig)
        host = rig.hosts["h1"]
        assert (await rig.ended(attach(world))).state == "succeeded"
        assert (status(world, id), inside(host, world)) == ("in-use", [id])
        assert attached(world, id)[0].status == "attached"
        assert (await rig.ended(detach(world))).state == "succeeded"
        assert (status(world, id), inside(host, world), attached(world, id)) == ("available", [], [])


async def test_an_attach_that_fails_leaves_the_volume_free(world: World) -> None:
    async with running(world) as rig:
        looked(rig)
        await rig.create()
        id = await data(rig)
        rig.hosts["h1"].fake.fail_next("attach_disks", broken("no slot is left"))
        operation = await rig.ended(attach(world))
        assert operation.state == "failed"
        assert operation.error["title"].endswith("no slot is left")  # type: ignore[index]
        assert (status(world, id), inside(rig.hosts["h1"], world)) == ("available", [])
        assert (await rig.ended(attach(world))).state == "succeeded"


async def test_a_detach_that_the_guest_does_not_confirm_loses_nothing(world: World) -> None:
    async with running(world) as rig:
        looked(rig)
        await rig.create()
        id = await data(rig)
        await rig.ended(attach(world))
        rig.hosts["h1"].fake.fail_next("detach_disks", broken("the guest does not let go", ErrorCode.BAD_STATE))
        operation = await rig.ended(detach(world))
        assert operation.state == "failed"
        assert operation.error["title"].endswith("the guest does not let go")  # type: ignore[index]
        assert (status(world, id), inside(rig.hosts["h1"], world)) == ("in-use", [id])
        assert attached(world, id)[0].status == "attached"
        assert (await rig.ended(detach(world))).state == "succeeded"
        assert status(world, id) == "available"


async def test_a_guest_that_is_off_starts_with_what_it_was_given(world: World) -> None:
    async with running(world) as rig:
        looked(rig)
        await rig.create()
        id = await data(rig)
        await rig.ended(world.power("stop"))
        assert (await rig.ended(attach(world))).state == "succeeded"
        await rig.ended(world.power("start"))
        assert inside(rig.hosts["h1"], world) == [id]
        assert (await rig.ended(detach(world))).state == "succeeded"
        assert inside(rig.hosts["h1"], world) == []


async def test_a_deletion_overtakes_an_attach(world: World) -> None:
    """The volume is free when the guest is gone, and no earlier."""
    async with running(world) as rig:
        looked(rig)
        await rig.create()
        id = await data(rig)
        held = rig.hosts["h1"].fake.hold("attach_disks")
        attach(world)
        rig.engine.wake()
        await rig.until(lambda: attached(world, id) and attached(world, id)[0].status == "attaching")
        deleted = world.delete()
        held.set()
        assert (await rig.ended(deleted)).state == "succeeded"
        assert (status(world, id), attached(world, id)) == ("available", [])


@pytest.mark.parametrize("goes", [True, False])
async def test_a_server_that_booted_from_a_volume(world: World, goes: bool) -> None:
    async with running(world) as rig:
        looked(rig)
        root = dataclasses.replace(ROOT, delete_on_termination=goes)
        blank = BlockDevice(source_type="blank", destination_type="volume", size_gb=2)
        instance = await rig.create(image=None, block_devices=(root, blank))
        assert (instance.status, instance.image_id, instance.root_gb) == ("ACTIVE", None, 0)
        made = world.rows(Volume, col(Volume.created_at))
        assert [(row.status, row.size_gb, row.bootable) for row in made] == [("in-use", 1, True), ("in-use", 2, False)]
        host = rig.hosts["h1"]
        assert inside(host, world) == [row.id for row in made]
        world.check_claims()
        assert (await rig.ended(world.delete())).state == "succeeded"
        await rig.idle()
        left = {row.id: row.status for row in world.rows(Volume) if not row.deleted_at}
        assert left == ({} if goes else {made[0].id: "available"}) | {made[1].id: "available"}
        assert await kept(host, world) == set(left)


async def test_a_launch_that_fails_takes_its_volumes_back(world: World) -> None:
    async with running(world) as rig:
        looked(rig)
        mine = await data(rig)
        rig.hosts["h1"].fake.fail_next("start", broken("cannot boot"))
        device = BlockDevice(source_type="volume", uuid="data", delete_on_termination=True)
        instance = await rig.create(image=None, block_devices=(ROOT, device))
        assert (instance.status, instance.host_id) == ("ERROR", None)
        assert (status(world, mine), attached(world, mine)) == ("available", [])
        (made,) = [row for row in world.rows(Volume) if row.id != mine]
        assert made.deleted_at
        assert await kept(rig.hosts["h1"], world) == {mine}
        assert (await rig.ended(world.delete())).state == "succeeded"
        assert status(world, mine) == "available", "it was the server's no more, and does not go with it"


async def test_another_host_makes_the_volumes_anew(world: World) -> None:
    async with running(world, hosts=2) as rig:
        looked(rig)
        created = world.create(image=None, block_devices=(ROOT,))
        (first,) = [link for link in rig.hosts.values() if link.id == created.instances[0].host_id]
        (second,) = [link for link in rig.hosts.values() if link is not first]
        first.fake.fail_next("start", broken("cannot boot"))
        operation = await rig.ended(created.operations[0])
        assert (operation.state, operation.lane) == ("succeeded", second.id)
        (volume,) = world.rows(Volume)
        assert (volume.host_id, volume.status) == (second.id, "in-use")
        assert await kept(first, world) == set()
        assert inside(second, world) == [volume.id]


async def test_a_local_volume_draws_its_server_to_its_host(world: World) -> None:
    async with running(world, hosts=3) as rig:
        looked(rig)
        id = await data(rig)
        with world.store.read() as session:
            there = session.get_one(Volume, id).host_id
        instance = await rig.create(block_devices=(BlockDevice(source_type="volume", uuid="data"),))
        assert (instance.status, instance.host_id) == ("ACTIVE", there)
        operation = world.operation(next(row.id for row in world.operations() if row.kind == "instance.create"))
        reasons = {gone["why"] for gone in operation.data["funnel"]["rejected"].values()}
        assert len(reasons) == 1
        assert reasons.pop().startswith("reaches 0 of 1 volumes, not data, which is on host ")


async def test_nothing_is_left_attached_to_what_never_began(world: World) -> None:
    """A launch is deleted before its host did anything."""
    async with running(world) as rig:
        looked(rig)
        id = await data(rig)
        rig.hosts["h1"].may_carry.clear()
        world.create(block_devices=(BlockDevice(source_type="volume", uuid="data"),))
        assert status(world, id) == "attaching"
        deleted = world.delete()
        assert (await rig.ended(deleted)).state == "succeeded"
        assert (status(world, id), attached(world, id)) == ("available", [])
        with world.store.read() as session:
            assert attachments.resting(session, id) == "available"
