"""instance.update: what an instance is told about itself changes on its host, and its power never does."""

from __future__ import annotations

import pytest

from core.compute.instances import verbs
from core.operations.operations import Operation
from hostd.spec import ErrorCode, HostError, PowerState, Want
from tests.core.operations.rig import Rig, running
from tests.core.world import World


def tag(world: World, **values: str) -> None:
    with world.store.write() as session:
        verbs.set_properties(session, world.admin, "web", values)


def updates(world: World) -> list[Operation]:
    return [operation for operation in world.operations() if operation.kind == "instance.update"]


def told(rig: Rig) -> dict[str, str]:
    """The metadata that the guest is told on its host."""
    spec = rig.hosts["h1"].fake.told(rig.world.instance("web").id)
    assert spec is not None
    assert spec.metadata is not None
    return spec.metadata.meta


async def test_metadata_reaches_the_host(world: World) -> None:
    async with running(world) as rig:
        await rig.create(properties={"role": "front"})
        assert told(rig) == {"role": "front"}
        tag(world, role="back")
        (operation,) = updates(world)
        assert (await rig.ended(operation)).state == "succeeded"
        assert told(rig) == {"role": "back"}
        instance = world.instance("web")
        assert (instance.status, instance.task_state, instance.fault) == ("ACTIVE", None, None)


@pytest.mark.parametrize("found", [PowerState.SHUTDOWN, PowerState.RUNNING, PowerState.PAUSED])
async def test_the_power_is_left_as_it_is(world: World, found: PowerState) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        fake = rig.hosts["h1"].fake
        fake.guests.set_power(instance.id, found, reason="by itself")
        tag(world, a="b")
        await rig.idle()
        assert rig.hosts["h1"].power(instance.id) is found
        spec = fake.told(instance.id)
        assert spec is not None
        assert spec.want is Want.PRESENT


async def test_what_did_not_change_is_not_told_and_what_waits_tells_all(world: World) -> None:
    world.host()
    world.image()
    world.settled(properties={"a": "1"})
    tag(world, a="1")
    assert updates(world) == []
    tag(world, a="2")
    tag(world, a="3")
    assert len(updates(world)) == 1


async def test_an_update_that_fails_is_kept_on_the_operation_alone(world: World) -> None:
    async with running(world) as rig:
        await rig.create()
        rig.hosts["h1"].fake.fail_next("apply", HostError(ErrorCode.BAD_STATE, "no"))
        tag(world, a="b")
        operation = await rig.ended(updates(world)[0])
        assert operation.state == "failed"
        assert (world.instance("web").status, world.instance("web").fault) == ("ACTIVE", None)
        tag(world, a="c")
        await rig.idle()
        assert told(rig) == {"a": "c"}


async def test_a_deletion_wins(world: World) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        tag(world, a="b")
        await rig.ended(world.delete())
        await rig.idle()
        assert rig.hosts["h1"].fake.told(instance.id) is None
