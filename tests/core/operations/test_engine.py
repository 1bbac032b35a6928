"""What the engine makes of success, trouble, cancels and two of itself, over hosts in memory."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator

import pytest

from core.compute.instances import verbs
from core.errors import NoValidHost
from core.hosts import hosts
from core.hosts.hosts import Host
from core.network import auto
from core.network.fabric import HostNetworking
from core.network.tables import FixedIP, Port
from core.operations import engine, operations
from core.operations.operations import MAX_ATTEMPTS, Operation
from hostd.spec import ErrorCode, HostError, PowerState
from tests.core.operations.rig import Rig, running
from tests.core.world import World


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Backoff in thousandths."""
    monkeypatch.setattr(engine, "FIRST_BACKOFF", 500)
    monkeypatch.setattr(engine, "LONGEST_BACKOFF", 30_000)
    monkeypatch.setattr(engine, "LOOK", 0.02)
    return iter((None,))  # type: ignore[return-value]


def broken(code: ErrorCode = ErrorCode.LIBVIRT, message: str = "cannot boot") -> HostError:
    return HostError(code, message, hint="look at its log")


def host_row(world: World, name: str) -> Host:
    (row,) = [host for host in world.rows(Host) if host.name == name]
    return row  # type: ignore[no-any-return]


def nothing_left(rig: Rig) -> None:
    """No claim, no guest, no address but the DHCP server's."""
    assert [host.vcpus_used for host in rig.world.rows(Host)] == [0] * len(rig.hosts)
    assert [list(link.fake.guests.observe(stats=False)[0]) for link in rig.hosts.values()] == [[]] * len(rig.hosts)
    rig.world.check_claims()


async def test_create(world: World) -> None:
    async with running(world) as rig:
        created = world.create()
        operation = await rig.ended(created.operations[0])
        assert (operation.state, operation.progress, operation.error) == ("succeeded", 100, None)
        assert operation.data["done"] == ["images", "volumes", "network", "spawn"]
        instance = world.instance("web")
        assert (instance.status, instance.task_state, instance.power_state) == ("ACTIVE", None, 1)
        assert instance.launched_at
        assert rig.hosts["h1"].power(instance.id) is PowerState.RUNNING
        assert {port.status for port in world.rows(Port) if port.device_id == instance.id} == {"ACTIVE"}
        assert instance.generation == 1
        world.check_claims()


async def test_the_life_of_a_guest(world: World) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        host = rig.hosts["h1"]
        for verb, status, power, number in (
            ("stop", "SHUTOFF", PowerState.SHUTDOWN, 4),
            ("start", "ACTIVE", PowerState.RUNNING, 1),
            ("pause", "PAUSED", PowerState.PAUSED, 3),
            ("unpause", "ACTIVE", PowerState.RUNNING, 1),
            ("suspend", "SUSPENDED", PowerState.SUSPENDED, 7),
            ("resume", "ACTIVE", PowerState.RUNNING, 1),
            ("reboot_soft", "ACTIVE", PowerState.RUNNING, 1),
            ("reboot_hard", "ACTIVE", PowerState.RUNNING, 1),
            ("stop", "SHUTOFF", PowerState.SHUTDOWN, 4),
            ("reboot_hard", "ACTIVE", PowerState.RUNNING, 1),
        ):
            operation = await rig.ended(world.power(verb))
            assert operation.state == "succeeded", (verb, operation.error)
            now = world.instance("web")
            assert (now.status, now.task_state, now.power_state) == (status, None, number), verb
            assert host.power(instance.id) is power
        record = host.fake.guests.seen(instance.id)
        assert record is not None
        assert record["reboots"] == 3
        assert (await rig.ended(world.delete())).state == "succeeded"
        gone = world.instance(instance.id)
        assert (gone.status, gone.deleted_at > 0) == ("DELETED", True)
        assert host.fake.guests.seen(instance.id) is None
        assert [port.device_owner for port in world.rows(Port)] == ["network:dhcp"]
        assert len(world.rows(FixedIP)) == 1
        nothing_left(rig)


async def test_steps_show_as_task_states(world: World) -> None:
    async with running(world) as rig:
        host = rig.hosts["h1"]
        host.may_carry.clear()
        created = world.create()
        await host.carrying.wait()
        assert world.instance("web").task_state == "block_device_mapping"
        held = host.fake.hold("start")
        host.may_carry.set()
        await rig.until(lambda: world.instance("web").task_state == "spawning")
        assert world.operation(created.operations[0].id).progress == 66
        held.set()
        await rig.ended(created.operations[0])


async def test_a_transient_error_is_tried_again(world: World) -> None:
    async with running(world) as rig:
        rig.hosts["h1"].fake.fail_next("start", broken(ErrorCode.LIBVIRT_DOWN, "libvirtd is away"), times=3)
        created = world.create()
        operation = await rig.ended(created.operations[0])
        assert (operation.state, operation.epoch) == ("succeeded", 4)
        assert world.instance("web").status == "ACTIVE"
        assert world.instance("web").generation == 1, "the same spec is asked for with the same generation"


async def test_too_many_transient_errors_block_with_their_reason(world: World) -> None:
    async with running(world) as rig:
        rig.hosts["h1"].fake.fail_next("start", broken(ErrorCode.LIBVIRT_DOWN, "libvirtd is away"), times=MAX_ATTEMPTS)
        operation = await rig.ended(world.create().operations[0])
        assert operation.state == "blocked"
        assert operation.error is not None
        assert "libvirtd is away" in operation.error["title"]
        assert "skydeck operation retry" in operation.error["hint"]
        assert world.instance("web").status == "BUILD"
        with world.store.write() as session:
            operations.retry(session, world.admin, operation.id)
        assert (await rig.ended(operation)).state == "succeeded"


async def test_tries_are_counted_per_step(world: World) -> None:
    async with running(world) as rig:
        host = rig.hosts["h1"].fake
        host.fail_next("links", broken(ErrorCode.LIBVIRT_DOWN), times=MAX_ATTEMPTS - 1)
        host.fail_next("start", broken(ErrorCode.LIBVIRT_DOWN), times=MAX_ATTEMPTS - 1)
        assert (await rig.ended(world.create().operations[0])).state == "succeeded"


async def test_a_host_that_fails_is_undone_and_another_is_tried(world: World) -> None:
    async with running(world, hosts=2) as rig:
        created = world.create()
        (first,) = [link for link in rig.hosts.values() if link.id == created.instances[0].host_id]
        (second,) = [link for link in rig.hosts.values() if link is not first]
        first.fake.fail_next("start", broken())
        operation = await rig.ended(created.operations[0])
        assert (operation.state, operation.lane) == ("succeeded", second.id)
        assert operation.data["tried"] == [first.id, second.id]
        instance = world.instance("web")
        assert (instance.status, instance.host_id, instance.fault) == ("ACTIVE", second.id, None)
        assert first.fake.guests.seen(instance.id) is None
        assert first.power(instance.id) is None
        assert second.power(instance.id) is PowerState.RUNNING
        seen = await first.observe()
        assert (seen.domains, seen.disks, seen.networks) == ((), (), ())
        assert (host_row(world, first.name).failed_builds, host_row(world, second.name).failed_builds) == (1, 0)
        assert {port.host_id for port in world.rows(Port) if port.device_id == instance.id} == {second.id}
        world.check_claims()


async def test_a_host_whose_way_out_is_exhausted_is_no_other_host(world: World) -> None:
    """An external network with room for the router and one host alone."""
    async with running(world, hosts=2) as rig:
        for name in rig.hosts:
            with world.store.write() as session:
                hosts.update_host(session, world.admin, name, physnets={"ext": "eth1"})
        with world.store.write() as session:
            auto.auto(
                session, world.admin, world.config,
                physical_network="ext", cidr="203.0.113.0/24", pool=("203.0.113.10", "203.0.113.11"),
            )  # fmt: skip
        anchor = await rig.create(name="anchor")  # keeps the one address on its host
        (first,) = [link for link in rig.hosts.values() if link.id == anchor.host_id]
        (second,) = [link for link in rig.hosts.values() if link is not first]
        with world.store.write() as session:
            hosts.update_host(session, world.admin, second.name, enabled=False)
        held = first.fake.hold("disks")
        first.fake.fail_next("start", broken())
        created = world.create()
        await rig.until(lambda: world.instance("web").task_state == "spawning")
        with world.store.write() as session:
            hosts.update_host(session, world.admin, second.name, enabled=True)
        held.set()
        operation = await rig.ended(created.operations[0])
        assert (operation.state, operation.data.get("tried")) == ("failed", [first.id])
        assert operation.error["title"].endswith("cannot boot")  # type: ignore[index]
        assert (world.instance("web").status, world.instance("web").host_id) == ("ERROR", None)
        world.check_claims()


async def test_three_hosts_are_tried_and_then_it_is_an_error(world: World) -> None:
    async with running(world, hosts=4) as rig:
        for link in rig.hosts.values():
            link.fake.fail_next("start", broken())
        operation = await rig.ended(world.create().operations[0])
        assert operation.state == "failed"
        assert len(operation.data["tried"]) == 3
        assert operation.error["title"].endswith("cannot boot")  # type: ignore[index]
        assert operation.data["funnel"]["total"] == 4
        instance = world.instance("web")
        assert (instance.status, instance.host_id) == ("ERROR", None)
        assert instance.fault == {**operation.error, "operation": operation.id}  # type: ignore[dict-item]
        nothing_left(rig)
        assert (await rig.ended(world.delete())).state == "succeeded"
        assert len(world.rows(FixedIP)) == 1


async def test_the_funnel_tells_why_there_was_no_other_host(world: World) -> None:
    async with running(world) as rig:
        rig.hosts["h1"].fake.fail_next("start", broken())
        operation = await rig.ended(world.create().operations[0])
        assert operation.state == "failed"
        assert operation.data["funnel"]["rejected"] == {
            "h1": {"filter": "untried", "why": "already tried for this instance"}
        }
        nothing_left(rig)


async def test_a_hint_that_cannot_be_kept_any_more_ends_the_create(world: World) -> None:
    async with running(world, hosts=2) as rig:
        anchor = await rig.create(name="anchor")
        (host,) = [link for link in rig.hosts.values() if link.id == anchor.host_id]
        held = host.fake.hold("disks")
        host.fake.fail_next("start", broken())
        created = world.create(hints={"same_host": "anchor"})
        await rig.until(lambda: world.instance("web").task_state == "spawning")
        world.change(anchor.id, deleted_at=1)
        held.set()
        operation = await rig.ended(created.operations[0])
        assert operation.state == "failed"
        assert world.instance("web").status == "ERROR"


UNDONE = ("undo spawn", "undo network", "undo volumes", "undo images")


async def test_undo_is_in_reverse_and_survives_trouble(world: World) -> None:
    async with running(world) as rig:
        host = rig.hosts["h1"]
        host.fake.fail_next("start", broken())
        host.fake.fail_next("delete_disks", broken(ErrorCode.LIBVIRT_DOWN), times=2)
        steps: list[str] = []

        def ended() -> bool:
            (row,) = world.operations()
            if not steps or steps[-1] != row.step:
                steps.append(row.step)
            return row.state == "failed"

        world.create()
        rig.engine.wake()
        await rig.until(ended)
        undone = [step for step in steps if step.startswith("undo")]
        assert undone == [step for step in UNDONE if step in undone]
        assert "undo images" in undone
        nothing_left(rig)


async def test_a_host_that_is_down_is_waited_for(world: World) -> None:
    async with running(world) as rig:
        await rig.create(name="a")
        host = rig.hosts["h1"]
        await rig.disconnect(host)
        with pytest.raises(NoValidHost) as refused:
            world.create(name="b")
        assert refused.value.funnel["rejected"]["h1"] == {"filter": "up", "why": "down: cable"}
        stop = world.power("stop", "a")
        operation = await rig.ended(stop)
        assert operation.state == "blocked"
        assert operation.error["title"] == "host h1: no route to it"  # type: ignore[index]
        assert world.instance("a").task_state == "powering-off"
        await rig.connect(host)
        await rig.until(lambda: world.operation(stop.id).state == "succeeded")
        assert world.instance("a").status == "SHUTOFF"


async def test_cancel_while_images_are_carried(world: World) -> None:
    async with running(world) as rig:
        host = rig.hosts["h1"]
        host.may_carry.clear()
        created = world.create()
        await host.carrying.wait()
        with world.store.write() as session:
            operations.cancel(session, world.admin, created.operations[0].id)
        operation = await rig.ended(created.operations[0])
        assert operation.state == "cancelled"
        instance = world.instance("web")
        assert (instance.status, instance.host_id) == ("ERROR", None)
        assert instance.fault is not None
        assert instance.fault["title"] == "the create was cancelled"
        nothing_left(rig)


async def test_cancel_before_it_began(world: World) -> None:
    rig = Rig(world)
    await rig.add()
    world.image()
    created = world.create()
    with world.store.write() as session:
        operations.cancel(session, world.admin, created.operations[0].id)
    rig.start()
    assert (await rig.ended(created.operations[0])).state == "cancelled"
    nothing_left(rig)
    await rig.stop()


@pytest.mark.parametrize("step", ["carry", "links", "disks", "start"])
async def test_delete_while_building(world: World, step: str) -> None:
    async with running(world) as rig:
        host = rig.hosts["h1"]
        held = asyncio.Event()
        if step == "carry":
            host.may_carry.clear()
        else:
            held = host.fake.hold(step)
        created = world.create()
        await rig.until(lambda: world.operation(created.operations[0].id).state == "running")
        if step == "carry":
            await host.carrying.wait()
        delete = world.delete()
        rig.engine.wake()
        assert world.instance("web").task_state == "deleting"
        held.set()
        host.may_carry.set()
        assert (await rig.ended(delete)).state == "succeeded"
        assert world.operation(created.operations[0].id).state in ("cancelled", "succeeded")
        assert world.instance(created.instances[0].id).status == "DELETED"
        nothing_left(rig)


async def test_nothing_slips_in_between_a_running_verb_and_a_delete(world: World) -> None:
    async with running(world) as rig:
        await rig.create()
        host = rig.hosts["h1"]
        held = host.fake.hold("stop")
        stop = world.power("stop")
        await rig.until(lambda: world.operation(stop.id).state == "running")
        gate = host.fake.hold("undefine")
        delete = world.delete()
        held.set()
        await rig.until(lambda: world.operation(delete.id).state == "running")
        assert world.operation(stop.id).state in ("succeeded", "cancelled")
        assert world.instance("web").task_state == "deleting"
        with pytest.raises(Exception, match="busy: deleting"):
            world.power("reboot_hard")
        gate.set()
        assert (await rig.ended(delete)).state == "succeeded"
        nothing_left(rig)


async def test_a_power_verb_that_fails_leaves_the_instance_as_it_was(world: World) -> None:
    async with running(world) as rig:
        await rig.create()
        rig.hosts["h1"].fake.fail_next("stop", broken(message="it will not stop"))
        operation = await rig.ended(world.power("stop"))
        assert operation.state == "failed"
        instance = world.instance("web")
        assert (instance.status, instance.task_state, instance.want) == ("ACTIVE", None, "running")
        assert instance.fault is not None
        assert "it will not stop" in instance.fault["title"]
        assert (await rig.ended(world.power("stop"))).state == "succeeded"
        assert world.instance("web").fault is None


async def test_an_image_pruned_from_the_host_is_carried_again(world: World) -> None:
    async with running(world) as rig:
        host = rig.hosts["h1"]
        gone = await rig.create(name="a")
        await rig.ended(world.delete("a"))
        host.fake.images.prune(0, ())
        assert gone.image_id
        assert (await rig.ended(world.create().operations[0])).state == "succeeded"
        assert len(host.carried) == 2


async def test_a_hard_reboot_brings_back_a_lost_definition(world: World) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        host = rig.hosts["h1"]
        host.fake.guests._records.pop(instance.id)
        assert (await rig.ended(world.power("reboot_hard"))).state == "succeeded"
        assert host.power(instance.id) is PowerState.RUNNING


async def test_a_stuck_lane_delays_no_other(world: World) -> None:
    world.config = dataclasses.replace(world.config, host_builds=1)
    async with running(world, hosts=2) as rig:
        rig.hosts["h1"].may_carry.clear()
        stuck = world.create(name="a", availability_zone="nova:h1")
        waits = world.create(name="b", availability_zone="nova:h1")
        goes = world.create(name="c", availability_zone="nova:h2")
        assert (await rig.ended(goes.operations[0])).state == "succeeded"
        assert world.operation(stuck.operations[0].id).state == "running"
        assert world.operation(waits.operations[0].id).state == "ready"
        rig.hosts["h1"].may_carry.set()
        await rig.idle()


async def test_an_engine_that_stops_hands_back_and_the_next_goes_on(world: World) -> None:
    async with running(world) as rig:
        host = rig.hosts["h1"]
        host.may_carry.clear()
        created = world.create()
        await host.carrying.wait()
        next_one = Rig(world, owner="next", hosts=rig.hosts)
        await rig.engine.stop()
        row = world.operation(created.operations[0].id)
        assert (row.state, row.owner) == ("ready", None)
        host.may_carry.set()
        next_one.start()
        assert (await next_one.ended(row)).state == "succeeded"
        await next_one.engine.stop()
        next_one.runner.close()


async def test_two_engines_do_everything_once(world: World) -> None:
    async with running(world, hosts=2) as rig:
        other = Rig(world, owner="other", hosts=rig.hosts)
        other.start()
        world.create(max_count=10)
        await rig.idle()
        assert {operation.epoch for operation in world.operations()} == {1}
        assert {instance.status for instance in world.rows(type(world.instance("web-1")))} == {"ACTIVE"}
        applied = sum(link.calls.count("apply") for link in rig.hosts.values())
        assert applied >= 10
        assert {instance.generation for instance in world.rows(type(world.instance("web-1")))} == {1}
        await other.engine.stop()
        other.runner.close()
        world.check_claims()


async def test_twenty_at_once_share_one_network_and_one_image(world: World) -> None:
    async with running(world) as rig:
        with world.store.write() as session:
            from core.identity import quotas

            quotas.update(
                session, world.admin, world.admin.project_id, "admin", {"instances": -1, "cores": -1, "ram": -1}
            )
        world.create(max_count=20)
        await rig.idle()
        assert {operation.state for operation in world.operations()} == {"succeeded"}
        assert rig.hosts["h1"].carried == [next(iter(rig.hosts["h1"].carried))]
        (row,) = world.rows(HostNetworking)
        assert row.applied == row.generation
        for number in range(20):
            world.delete(f"web-{number + 1}")
        await rig.idle()
        nothing_left(rig)


async def test_work_of_an_unknown_shape_blocks_and_the_engine_goes_on(world: World) -> None:
    async with running(world) as rig:
        created = world.create(name="a")
        with world.store.write() as session:
            session.get(Operation, created.operations[0].seq).data = {"done": 7}  # type: ignore[union-attr]
        operation = await rig.ended(created.operations[0])
        assert operation.state == "blocked"
        assert operation.error is not None
        assert operation.error["title"] == "an error in skydeck itself"
        assert (await rig.create(name="b")).status == "ACTIVE"


async def test_a_delete_that_was_cancelled_may_be_repeated(world: World) -> None:
    async with running(world) as rig:
        await rig.create()
        host = rig.hosts["h1"]
        await rig.disconnect(host)
        delete = world.delete()
        await rig.ended(delete)
        with world.store.write() as session:
            operations.cancel(session, world.admin, delete.id)
        assert (await rig.ended(delete)).state == "cancelled"
        instance = world.instance("web")
        assert (instance.status, instance.task_state) == ("ERROR", None)
        await rig.connect(host)
        with world.store.write() as session:
            again = verbs.delete(session, world.admin, "web")
        assert (await rig.ended(again)).state == "succeeded"
        nothing_left(rig)
