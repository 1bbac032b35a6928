"""What hosts tell by themselves: power changes, strangers, lost journals; and what drift finds."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from core.compute.instances import states
from core.events import Event
from core.hosts.drift import Finding
from core.hosts.findings import reap, repair_networking
from core.hosts.hosts import Host
from core.network.fabric import HostNetworking
from hostd.spec import Apply, ErrorCode, HostError, InstanceSpec, ObjectKind, PowerState, Want, dump
from tests.core.operations.rig import FakeLink, running
from tests.core.world import World

STRANGER = "5ca1ab1e-0000-4000-8000-000000000001"


def findings(world: World) -> dict[str, Finding]:
    """Open findings by kind."""
    return {finding.kind: finding for finding in world.rows(Finding) if finding.resolved_at is None}


async def test_a_guest_that_powers_itself_off_becomes_shutoff(world: World) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        rig.hosts["h1"].fake.guests.set_power(instance.id, PowerState.SHUTDOWN, reason="shutdown by guest")
        await rig.until(lambda: world.instance("web").status == "SHUTOFF")
        now = world.instance("web")
        assert (now.power_state, now.want) == (4, "stopped")
        (event,) = world.events("instance.power_sync")
        assert event.before == {"vm_state": "active", "power_state": 1}
        assert event.after == {"vm_state": "stopped", "power_state": 4, "reason": "shutdown by guest"}
        assert (event.user_name, event.source) == ("skydeck", "serve")
        assert (await rig.ended(world.power("start"))).state == "succeeded"


async def test_a_guest_started_behind_our_back_is_a_finding_and_runs_on(world: World) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        host = rig.hosts["h1"]
        await rig.ended(world.power("stop"))
        host.fake.guests.set_power(instance.id, PowerState.RUNNING, reason="virsh start")
        await rig.until(lambda: world.instance("web").power_state == 1)
        await rig.reconciler.look(host)  # type: ignore[arg-type]
        finding = findings(world)["started_elsewhere"]
        assert (finding.object_id, finding.act) == (instance.id, f"skydeck server start {instance.id}")
        assert "somebody started it there" in finding.title
        assert world.instance("web").status == "SHUTOFF"
        assert host.power(instance.id) is PowerState.RUNNING
        await rig.ended(world.power("start"))
        await rig.reconciler.look(host)  # type: ignore[arg-type]
        assert findings(world) == {}


TABLE: list[tuple[str, PowerState, str]] = [
    # Semantics C, but for the forced stop of what somebody started.
    ("active", PowerState.RUNNING, "active"),
    ("active", PowerState.SHUTDOWN, "stopped"),
    ("active", PowerState.CRASHED, "stopped"),
    ("active", PowerState.SUSPENDED, "stopped"),
    ("active", PowerState.PAUSED, "active"),
    ("active", PowerState.NOSTATE, "active"),
    ("stopped", PowerState.RUNNING, "stopped"),
    ("stopped", PowerState.PAUSED, "stopped"),
    ("paused", PowerState.SHUTDOWN, "stopped"),
    ("paused", PowerState.CRASHED, "stopped"),
    ("paused", PowerState.SUSPENDED, "paused"),
    ("paused", PowerState.RUNNING, "paused"),
    ("suspended", PowerState.SHUTDOWN, "suspended"),
    ("suspended", PowerState.RUNNING, "suspended"),
    ("error", PowerState.SHUTDOWN, "error"),
    ("error", PowerState.RUNNING, "error"),
    ("rescued", PowerState.SHUTDOWN, "rescued"),
    ("resized", PowerState.SHUTDOWN, "resized"),
]


async def test_power_reconciliation(world: World) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        host = rig.hosts["h1"]
        for vm_state, power, becomes in TABLE:
            world.change(instance.id, vm_state=vm_state, power_state=99, task_state="x")
            # The event finds a task, and leaves it alone: only the look shall tell.
            host.fake.guests._change(instance.id, power=power.value)
            await rig.reconciler.look(host)  # type: ignore[arg-type]
            assert world.instance("web").power_state == 99, "not while a task runs"
            world.change(instance.id, task_state=None)
            await rig.reconciler.look(host)  # type: ignore[arg-type]
            now = world.instance("web")
            assert (now.vm_state, now.power_state) == (becomes, states.POWER[power]), (vm_state, power)
            assert host.power(instance.id) is power, "nothing is done to the guest"


async def test_a_look_older_than_a_verb_changes_nothing(world: World) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        host = rig.hosts["h1"]
        host.fake.guests._change(instance.id, power=PowerState.SHUTDOWN.value)
        observe = host.observe

        async def meanwhile(**options: Any) -> Any:
            seen = await observe(**options)
            world.change(instance.id, updated_at=instance.updated_at + 10_000_000)
            return seen

        host.observe = meanwhile  # type: ignore[method-assign]
        await rig.reconciler.look(host)  # type: ignore[arg-type]
        assert world.instance("web").status == "ACTIVE"
        host.observe = observe  # type: ignore[method-assign]
        await rig.reconciler.look(host)  # type: ignore[arg-type]
        assert world.instance("web").status == "SHUTOFF"


async def apply_stranger(host: FakeLink) -> None:
    spec = InstanceSpec(uuid=STRANGER, want=Want.RUNNING, name="lost", project_id="p", vcpus=1, ram_mb=64, root_gb=1)
    await host.call("apply", Apply(kind=ObjectKind.INSTANCE, uuid=STRANGER, generation=1, spec=dump(spec)), deadline=1)


async def test_an_unlisted_guest_is_quarantined_and_kept(world: World) -> None:
    async with running(world) as rig:
        mine = await rig.create()
        host = rig.hosts["h1"]
        await apply_stranger(host)
        await rig.disconnect(host)
        await rig.connect(host)
        assert host.power(STRANGER) is PowerState.SHUTDOWN
        assert host.power(mine.id) is PowerState.RUNNING
        finding = findings(world)["guest_unknown"]
        assert finding.object_id == STRANGER
        assert "no instance of that id is known" in finding.title
        assert finding.evidence == {"power": "shutdown", "quarantined": True}
        assert [disk.instance for disk in (await host.observe()).disks].count(STRANGER) == 1


async def test_a_deleted_guest_that_is_back_may_be_reaped(world: World) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        await rig.ended(world.delete())
        host = rig.hosts["h1"]
        host.fake.guests._change(instance.id, files=True, name="web", power="running")
        await rig.reconciler.look(host)  # type: ignore[arg-type]
        finding = findings(world)["guest_unknown"]
        assert "it was deleted" in finding.title
        assert instance.id in finding.act


async def test_a_look_from_before_a_reaping_finds_nothing_anew(world: World) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        await rig.ended(world.delete())
        host = rig.hosts["h1"]
        host.fake.guests._change(instance.id, files=True, name="web", power="running")
        await rig.reconciler.look(host)  # type: ignore[arg-type]
        observe = host.observe

        async def meanwhile(**options: Any) -> Any:
            seen = await observe(**options)
            with world.store.write() as session:
                reaping = reap(session, world.admin, instance.id)
            await rig.ended(reaping)
            return seen

        host.observe = meanwhile  # type: ignore[method-assign]
        await rig.reconciler.look(host)  # type: ignore[arg-type]
        assert findings(world) == {}


async def test_a_missing_guest_is_a_finding(world: World) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        host = rig.hosts["h1"]
        host.fake.guests._records.pop(instance.id)
        await rig.reconciler.look(host)  # type: ignore[arg-type]
        finding = findings(world)["guest_missing"]
        assert finding.act == f"skydeck server reboot --hard {instance.id}"
        assert (await rig.ended(world.power("reboot_hard"))).state == "succeeded"
        await rig.reconciler.look(host)  # type: ignore[arg-type]
        assert findings(world) == {}


async def test_a_finding_is_one_row_while_it_lasts(world: World) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        host = rig.hosts["h1"]
        record = host.fake.guests._records.pop(instance.id)
        for _ in range(3):
            await rig.reconciler.look(host)  # type: ignore[arg-type]
        (finding,) = world.rows(Finding)
        assert finding.last_seen > finding.first_seen
        host.fake.guests._records[instance.id] = record
        await rig.reconciler.look(host)  # type: ignore[arg-type]
        (finding,) = world.rows(Finding)
        assert finding.resolved_at


async def test_what_an_operation_works_on_is_no_finding(world: World) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        host = rig.hosts["h1"]
        held = host.fake.hold("stop")
        stop = world.power("stop")
        rig.engine.wake()
        await rig.until(lambda: world.operation(stop.id).state == "running")
        host.fake.guests._records.pop(instance.id)
        await rig.reconciler.look(host)  # type: ignore[arg-type]
        assert findings(world) == {}
        held.set()
        await rig.ended(stop)


async def test_a_lost_journal_loses_no_guest(world: World) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        host = rig.hosts["h1"]
        (before,) = world.rows(HostNetworking)
        assert before.applied == before.generation
        host.up = False
        host.fake.lose_journal()
        await rig.connect(host)
        (after,) = world.rows(HostNetworking)
        assert after.generation == before.generation + 1
        assert host.power(instance.id) is PowerState.RUNNING
        assert world.instance("web").status == "ACTIVE"
        assert (await rig.ended(world.power("stop"))).state == "succeeded"
        assert (await rig.ended(world.create(name="b").operations[0])).state == "succeeded"
        assert (await rig.ended(world.delete("web"))).state == "succeeded"
        assert (await rig.ended(world.delete("b"))).state == "succeeded"
        world.check_claims()


async def test_a_host_that_rebooted_has_its_guests_off(world: World) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        host = rig.hosts["h1"]
        host.up = False
        host.fake.reboot()
        await rig.connect(host)
        assert world.instance("web").status == "SHUTOFF"
        assert (await rig.ended(world.power("start"))).state == "succeeded"
        assert host.power(instance.id) is PowerState.RUNNING


async def test_hosts_going_and_coming_are_events(world: World) -> None:
    async with running(world) as rig:
        host = rig.hosts["h1"]
        await rig.disconnect(host, "no route to host")
        (row,) = world.rows(Host)
        assert (row.state, row.state_reason) == ("down", "no route to host")
        await rig.reconciler.disconnected(host.id, "no route to host")
        await rig.connect(host)
        (row,) = world.rows(Host)
        assert (row.state, row.state_reason) == ("up", "")
        told: list[Event] = [event for event in world.events() if event.action in ("host.up", "host.down")]
        assert [event.action for event in told] == ["host.up", "host.down", "host.up"]


async def test_inventory_comes_from_the_host(world: World) -> None:
    async with running(world) as rig:
        (row,) = world.rows(Host)
        has = rig.hosts["h1"].fake.capacity
        assert (row.vcpus, row.ram_mb, row.disk_gb, row.arch) == (has.vcpus, has.ram_mb, has.disk_gb, has.arch)
        assert (row.vcpus_cap, row.ram_mb_cap) == (has.vcpus * 4, has.ram_mb - 512)


async def test_a_host_known_to_the_database_but_gone_is_no_trouble(world: World) -> None:
    async with running(world) as rig:
        ghost = FakeLink(rig.hosts["h1"].fake, "ghost")
        ghost.id = "no-such-host"
        await rig.reconciler.disconnected(ghost.id, "gone")
        assert [row.name for row in world.rows(Host)] == ["h1"]


async def test_a_guest_created_while_its_host_says_hello_is_not_quarantined(world: World) -> None:
    """The list of a host's guests may be older than a guest that could be started there meanwhile."""
    async with running(world) as rig:
        host = rig.hosts["h1"]
        await rig.create(name="first")
        await rig.disconnect(host)
        call = host.call
        created: list[Any] = []

        async def late(name: str, body: Any, *, deadline: float) -> Any:
            if name == "sync":
                created.append(world.create(name="second"))
                rig.engine.wake()
                await rig.until(lambda: world.instance("second").task_state == "networking")
            return await call(name, body, deadline=deadline)

        host.call = late  # type: ignore[method-assign]
        await rig.connect(host)
        assert (await rig.ended(created[0].operations[0])).state == "succeeded"
        assert host.power(created[0].instances[0].id) is PowerState.RUNNING


@pytest.mark.parametrize("code", [ErrorCode.STALE_CONTROLLER, ErrorCode.OLD_GENERATION, ErrorCode.CONFLICT])
async def test_a_refusal_ends_a_verb_and_keeps_the_guest(world: World, code: ErrorCode) -> None:
    async with running(world) as rig:
        instance = await rig.create()
        host = rig.hosts["h1"]
        host.fake.fail_next("apply", HostError(code, "no"))
        operation = await rig.ended(world.power("stop"))
        assert operation.state == "failed"
        assert host.power(instance.id) is PowerState.RUNNING
        assert (await rig.ended(world.power("stop"))).state == "succeeded"


# ---------------------------------------------------------------------------- networking


def networking(world: World) -> HostNetworking:
    (row,) = world.rows(HostNetworking)
    return row  # type: ignore[no-any-return]


async def test_a_host_is_told_its_networking_when_it_first_comes_up(world: World) -> None:
    async with running(world) as rig:
        await rig.until(lambda: networking(world).applied == 1)
        seen = await rig.hosts["h1"].observe()
        assert seen.networking is not None
        assert seen.networking.generation == 1


@pytest.mark.parametrize("has", [None, 0, 99])
async def test_a_host_that_is_elsewhere_than_it_confirmed_is_told_anew(world: World, has: int | None) -> None:
    """Its journal was set back, or the database was."""
    async with running(world) as rig:
        await rig.create()
        await rig.until(lambda: networking(world).applied == networking(world).generation)
        before = networking(world).generation
        host = rig.hosts["h1"]
        observe = host.observe

        async def misled(*, stats: bool = True) -> Any:
            seen = await observe(stats=stats)
            assert seen.networking is not None
            return attrs.evolve(seen, networking=attrs.evolve(seen.networking, generation=has))

        host.observe = misled  # type: ignore[method-assign]
        await rig.reconciler.look(host)  # type: ignore[arg-type]
        host.observe = observe  # type: ignore[method-assign]
        assert networking(world).generation == max(before, has or 0) + 1
        rig.engine.wake()
        await rig.until(lambda: networking(world).applied == networking(world).generation)
        await rig.reconciler.look(host)  # type: ignore[arg-type]
        assert networking(world).generation == max(before, has or 0) + 1, "once"


async def test_why_a_host_does_not_take_its_networking_is_a_finding(world: World) -> None:
    async with running(world) as rig:
        await rig.until(lambda: networking(world).applied == 1)
        host = rig.hosts["h1"]
        host.fake.fail_next("firewall", HostError(ErrorCode.NETWORK, "nft says no", hint="look at its log"), times=99)
        created = world.create()
        rig.engine.wake()
        await rig.until(lambda: networking(world).error is not None)
        await rig.reconciler.look(host)  # type: ignore[arg-type]
        finding = findings(world)["networking_refused"]
        assert "nft says no" in finding.title
        assert finding.act == "look at its log"
        assert (await rig.ended(created.operations[0])).state == "failed"


async def test_repairing_tells_all_of_it_again(world: World) -> None:
    async with running(world) as rig:
        await rig.create()
        before = networking(world)
        host = rig.hosts["h1"]
        host.fake._networking.clear()
        with world.store.write() as session:
            operation = repair_networking(session, world.admin, "h1")
        assert (await rig.ended(operation)).state == "succeeded"
        assert networking(world).applied > before.applied
        assert len((await host.observe()).networks) == 1
