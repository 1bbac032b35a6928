"""Verbs on an instance: intent, operation and audit event in one transaction; locks; deleting."""

from __future__ import annotations

import dataclasses

import pytest

from core import door
from core.compute.instances import guards, reads, verbs
from core.errors import Conflict, Forbidden, Invalid, NotFound, QuotaExceeded
from core.network.tables import Port
from core.operations import operations
from core.store import Clock, Store
from tests.core.world import World, as_role

POWER = {
    # verb: (from, task_state, want)
    "start": ("stopped", "powering-on", "running"),
    "stop": ("active", "powering-off", "stopped"),
    "pause": ("active", "pausing", "paused"),
    "unpause": ("paused", "unpausing", "running"),
    "suspend": ("active", "suspending", "suspended"),
    "resume": ("suspended", "resuming", "running"),
    "reboot_soft": ("active", "rebooting", "running"),
    "reboot_hard": ("stopped", "rebooting_hard", "running"),
}


@pytest.fixture(autouse=True)
def _room(world: World) -> None:
    world.host()
    world.image()


@pytest.mark.parametrize("verb", POWER)
def test_power(world: World, verb: str) -> None:
    vm_state, task, want = POWER[verb]
    world.settled(vm_state=vm_state)
    operation = world.power(verb)
    instance = world.instance("web")
    assert (instance.vm_state, instance.task_state, instance.want) == (vm_state, task, want)
    assert (operation.kind, operation.state, operation.lane) == (f"instance.{verb}", "ready", instance.host_id)
    (event,) = world.events(f"instance.{verb}")
    assert (event.before, event.after) == ({"vm_state": vm_state, "task_state": None}, {"task_state": task})
    assert event.request_id == operation.request_id


@pytest.mark.parametrize("verb", POWER)
def test_a_refused_verb_changes_nothing(world: World, verb: str) -> None:
    world.settled(vm_state="rescued")
    before, events = world.instance("web").model_dump(), len(world.events())
    with pytest.raises(Conflict):
        world.power(verb)
    assert world.instance("web").model_dump() == before
    assert len(world.events()) == events


def test_an_unknown_verb(world: World) -> None:
    with pytest.raises(Invalid, match="unknown power verb 'fly'"):
        world.power("fly")


def test_only_one_of_two_stops_is_accepted(world: World) -> None:
    world.settled()
    world.power("stop")
    with pytest.raises(Conflict, match="cannot stop: web is busy: powering-off"):
        world.power("stop")


def test_delete_cancels_what_is_open_and_is_idempotent(world: World) -> None:
    created = world.create()
    first = world.delete()
    again = world.delete()
    assert again.id == first.id
    assert world.operation(created.operations[0].id).cancel
    instance = world.instance("web")
    assert (instance.task_state, instance.want) == ("deleting", "absent")
    assert [operation.kind for operation in world.operations()] == ["instance.create", "instance.delete"]
    assert len(world.events("instance.delete")) == 1


def test_a_blocked_delete_runs_again_when_asked_again(world: World) -> None:
    world.settled()
    operation = world.delete()
    with world.store.write() as session:
        row = session.get(operations.Operation, operation.seq)
        assert row is not None
        row.state, row.attempt = "blocked", 8
    assert world.delete().id == operation.id
    assert (world.operation(operation.id).state, world.operation(operation.id).attempt) == ("ready", 0)


def test_a_blocked_operation_makes_way_for_delete(world: World) -> None:
    world.settled()
    stop = world.power("stop")
    with world.store.write() as session:
        session.get(operations.Operation, stop.seq).state = "blocked"  # type: ignore[union-attr]
    world.delete()
    assert (world.operation(stop.id).state, world.operation(stop.id).cancel) == ("ready", True)


def test_what_is_deleted_is_gone(world: World) -> None:
    instance = world.settled()
    world.change(instance.id, deleted_at=1, vm_state="deleted")
    for gone in (lambda: world.delete(), lambda: world.power("start"), lambda: world.delete(instance.id)):
        with pytest.raises(NotFound, match="no server"):
            gone()


def test_a_name_twice_needs_the_id(world: World) -> None:
    first = world.settled()
    world.settled()
    with pytest.raises(Invalid, match="2 servers are named 'web'"):
        world.power("stop")
    world.power("stop", first.id)


def test_locking(world: World) -> None:
    me = world.someone("member")
    instance = world.settled(me)
    with world.store.write() as session:
        verbs.lock(session, me, "web", reason="backup runs")
    with pytest.raises(Conflict, match="cannot stop: web is locked by its owner: backup runs"):
        world.power("stop", ctx=me)
    with pytest.raises(Conflict, match="cannot delete: web is locked"):
        world.delete(ctx=me)
    with pytest.raises(Conflict), world.store.write() as session:
        verbs.set_properties(session, me, "web", {"a": "b"})
    with world.store.write() as session:
        verbs.rename(session, me, "web", "renamed")  # not guarded by the lock
        verbs.unlock(session, me, "renamed")
    world.power("stop", "renamed", ctx=me)
    assert [event.action for event in world.events() if event.object_id == instance.id] == [
        "instance.create", "instance.lock", "instance.rename", "instance.unlock", "instance.stop",
    ]  # fmt: skip


def test_an_admin_passes_a_lock(world: World) -> None:
    me = world.someone("member")
    instance = world.settled(me)
    with world.store.write() as session:
        verbs.lock(session, me, "web")
    world.power("stop", instance.id, ctx=world.admin)


def test_an_admins_lock_holds_against_the_owner(world: World) -> None:
    me = world.someone("member")
    instance = world.settled(me)
    with world.store.write() as session:
        verbs.lock(session, world.admin, instance.id, reason="audit")
        assert verbs.find(session, me, "web").locked_by == "admin"
    with pytest.raises(Conflict, match="was locked by an admin"), world.store.write() as session:
        verbs.unlock(session, me, "web")
    with world.store.write() as session:
        verbs.lock(session, me, "web")  # as in nova, the owner's lock does not replace the admin's
        assert (verbs.find(session, me, "web").locked_by, verbs.find(session, me, "web").locked_reason) == (
            "admin",
            "audit",
        )
    with pytest.raises(Conflict), world.store.write() as session:
        verbs.unlock(session, me, "web")
    with world.store.write() as session:
        verbs.unlock(session, world.admin, instance.id)
    world.power("stop", ctx=me)


def test_renaming_keeps_the_hostname(world: World) -> None:
    world.settled()
    with world.store.write() as session:
        verbs.rename(session, world.admin, "web", "db")
    assert (world.instance("db").name, world.instance("db").hostname) == ("db", "web")
    with pytest.raises(Invalid), world.store.write() as session:
        verbs.rename(session, world.admin, "db", "a\x07b")


def test_metadata(world: World) -> None:
    world.settled(properties={"a": "1", "b": "2"})
    with world.store.write() as session:
        verbs.set_properties(session, world.admin, "web", {"b": "3", "c": "4"}, unset=("a",))
    assert world.instance("web").properties == {"b": "3", "c": "4"}
    (event,) = world.events("instance.metadata")
    assert event.before == {"properties": {"a": "1", "b": "2"}}
    with pytest.raises(QuotaExceeded), world.store.write() as session:
        verbs.set_properties(session, world.admin, "web", {f"k{n}": "" for n in range(127)})


def test_showing_an_instance_hides_what_was_injected(world: World) -> None:
    instance = world.settled(user_data=b"secret", files={"/x": b"y"})
    with world.store.read() as session:
        row = reads.show(session, instance)
    assert not {"user_data", "files", "public_key"} & set(row)
    assert (row["has_user_data"], row["host"], row["project"], row["status"]) == (True, "h1", "admin", "ACTIVE")
    assert row["addresses"] == [("default", "10.0.0.3")]
    assert row["ports"][0]["mac"].startswith("fa:16:3e")


def test_the_summary(world: World) -> None:
    world.settled(name="a")
    world.settled(name="b", vm_state="stopped")
    world.settled(name="c", vm_state="stopped")
    with world.store.read() as session:
        summary = reads.summary(session, world.admin)
    assert (summary.by_status, summary.total) == ({"ACTIVE": 1, "SHUTOFF": 2}, 3)


def test_tickets(world: World) -> None:
    me = world.someone("member")
    instance = world.settled(me)
    world.settled(world.someone("member", project="other"), name="theirs")
    with world.store.write() as session:
        ticket = door.ticket(session, me, purpose="console", instance="web")
        with pytest.raises(NotFound):
            door.ticket(session, me, purpose="console", instance="theirs")
        with pytest.raises(Forbidden):
            door.ticket(session, me, purpose="observe")
        with pytest.raises(Invalid):
            door.ticket(session, me, purpose="root", instance="web")
        with pytest.raises(Forbidden):
            door.ticket(session, as_role(me, "reader"), purpose="console", instance="web")
        door.ticket(session, as_role(me, "reader"), purpose="console_log", instance="web")
    with world.store.write() as session:
        redeemed = door.redeem(session, ticket)
        assert (redeemed.object_id, redeemed.purpose, redeemed.user_id) == (instance.id, "console", me.user_id)
    with pytest.raises(NotFound, match="not valid"), world.store.write() as session:
        door.redeem(session, ticket)
    assert len(world.events("instance.console")) == 1


def test_a_ticket_goes_stale(world: World, store: Store) -> None:
    world.settled()
    with store.write() as session:
        ticket = door.ticket(session, world.admin, purpose="console", instance="web")
    later = Clock(now=lambda: store.clock.now() / 1e6 + 61)
    with store.write() as session:
        session.info["clock"] = later
        with pytest.raises(NotFound):
            door.redeem(session, ticket)


def test_unplaced_instances_have_no_console(world: World) -> None:
    instance = world.settled()
    world.change(instance.id, host_id=None)
    with pytest.raises(NotFound, match="is on no host"), world.store.write() as session:
        door.ticket(session, world.admin, purpose="console", instance="web")


def test_a_reason_is_what_the_refusal_says(world: World) -> None:
    instance = world.settled(vm_state="paused")
    reason = guards.reason(world.admin, instance, "stop")
    with pytest.raises(Conflict) as refused:
        world.power("stop")
    assert reason is not None
    assert refused.value.title == f"cannot stop: {reason[0]}"
    assert dataclasses.is_dataclass(guards.GUARDS["stop"])


def test_deleting_frees_nothing_before_it_is_done(world: World) -> None:
    instance = world.settled()
    world.delete()
    assert [port for port in world.rows(Port) if port.device_id == instance.id]
    world.check_claims()
