"""Every guard against nova's table (semantics A), restated here from the document and not from the code."""

from __future__ import annotations

import itertools

import pytest

from core.compute.instances import guards
from core.compute.instances.table import Instance
from core.context import Context
from core.errors import Conflict

VM_STATES = [
    "building",
    "active",
    "stopped",
    "paused",
    "suspended",
    "rescued",
    "resized",
    "soft-delete",
    "deleted",
    "error",
    "shelved",
    "shelved_offloaded",
]
TASKS = [
    None,
    *[
        "scheduling",
        "block_device_mapping",
        "networking",
        "spawning",
        "powering-on",
        "powering-off",
        "pausing",
        "unpausing",
        "suspending",
        "resuming",
        "deleting",
        "rebooting",
        "reboot_pending",
        "reboot_started",
        "rebooting_hard",
        "migrating",
        "rebuilding",
    ],
]
ANY = "*"
HARD = [
    "rebooting",
    "reboot_pending",
    "reboot_started",
    "rebooting_hard",
    "resuming",
    "unpausing",
    "pausing",
    "suspending",
]

TABLE = {
    # verb: (vm_states, task_states, lock-guarded, must have launched, task_state it sets, least role)
    "start": (["stopped"], [None], True, True, "powering-on", "member"),
    "stop": (["active", "error"], [None], True, True, "powering-off", "member"),
    "reboot_soft": (["active"], [None], True, True, "rebooting", "member"),
    "attach_interface": (["active", "paused", "stopped"], [None], True, True, None, "member"),
    "detach_interface": (["active", "paused", "stopped"], [None], True, True, None, "member"),
    **dict.fromkeys(
        ("attach_volume", "detach_volume"),
        (
            ["active", "paused", "stopped", "resized", "soft-delete", "shelved", "shelved_offloaded"],
            [None],
            True,
            True,
            None,
            "member",
        ),
    ),
    "create_image": (
        ["active", "stopped", "paused", "suspended"],
        [None],
        False,
        True,
        "image_snapshot",
        "member",
    ),
    "reboot_hard": (
        ["active", "stopped", "paused", "suspended", "error"],
        [None, *HARD],
        True,
        True,
        "rebooting_hard",
        "member",
    ),
    "pause": (["active"], [None], True, True, "pausing", "member"),
    "unpause": (["paused"], [None], True, True, "unpausing", "member"),
    "suspend": (["active"], [None], True, True, "suspending", "member"),
    "resume": (["suspended"], [None], True, True, "resuming", "member"),
    "metadata": (["active", "paused", "suspended", "stopped"], ANY, True, True, None, "member"),
    "delete": (ANY, ANY, True, False, "deleting", "member"),
    "console": (ANY, [task for task in TASKS if task not in ("deleting", "migrating")], False, True, None, "member"),
    "console_log": (ANY, ANY, False, False, None, "reader"),
    "display": (["active", "paused"], ANY, False, True, None, "member"),
    "ssh": (["active"], ANY, False, True, None, "member"),
    "lock": (ANY, ANY, False, False, None, "member"),
    "unlock": (ANY, ANY, False, False, None, "member"),
    "rename": (ANY, ANY, False, False, None, "member"),
}
ROLES = ("reader", "member", "manager", "admin")


def context(*roles: str) -> Context:
    return Context(user_id="u", user_name="u", project_id="p", project_name="p", roles=frozenset(roles))


def an_instance(vm_state: str, task_state: str | None, *, locked: bool = False, launched: bool = True) -> Instance:
    return Instance(
        id="i", name="web", project_id="p", user_id="u", hostname="web", vm_state=vm_state, task_state=task_state,
        locked=locked, locked_by="owner" if locked else None, launched_at=1 if launched else None,
        flavor_id="1", flavor_name="f", vcpus=1, ram_mb=1, root_gb=1, created_at=1, updated_at=1,
    )  # fmt: skip


def test_the_table_covers_every_verb() -> None:
    assert set(TABLE) == set(guards.GUARDS)


@pytest.mark.parametrize("verb", TABLE)
def test_vm_state_by_task_state(verb: str) -> None:
    vm_states, tasks, *_ = TABLE[verb]
    for vm_state, task in itertools.product(VM_STATES, TASKS):
        allowed = (vm_states == ANY or vm_state in vm_states) and (tasks == ANY or task in tasks)
        why = guards.reason(context("member"), an_instance(vm_state, task), verb)
        assert (why is None) == allowed, (vm_state, task, why)


@pytest.mark.parametrize("verb", TABLE)
def test_lock_by_role(verb: str) -> None:
    vm_states, _, lock_guarded, *_ = TABLE[verb]
    vm_state = "active" if vm_states == ANY else vm_states[0]
    locked = an_instance(vm_state, None, locked=True)
    assert (guards.reason(context("member"), locked, verb) is None) == (not lock_guarded)
    assert (guards.reason(context("manager"), locked, verb) is None) == (not lock_guarded)
    assert guards.reason(context("admin"), locked, verb) is None


@pytest.mark.parametrize("verb", TABLE)
def test_never_launched(verb: str) -> None:
    vm_states, _, _, needs_launch, *_ = TABLE[verb]
    vm_state = "active" if vm_states == ANY else vm_states[0]
    why = guards.reason(context("member"), an_instance(vm_state, None, launched=False), verb)
    assert (why is None) == (not needs_launch)


@pytest.mark.parametrize("verb", TABLE)
def test_least_role(verb: str) -> None:
    vm_states, _, _, _, _, least = TABLE[verb]
    vm_state = "active" if vm_states == ANY else vm_states[0]
    for role in ROLES:
        why = guards.reason(context(role), an_instance(vm_state, None), verb)
        assert (why is None) == (ROLES.index(role) >= ROLES.index(least)), (role, why)
    assert guards.reason(context(), an_instance(vm_state, None), verb) is not None


@pytest.mark.parametrize("verb", TABLE)
def test_the_task_it_sets(verb: str) -> None:
    assert guards.GUARDS[verb].task == TABLE[verb][4]


def test_a_refusal_names_cause_and_next_act() -> None:
    with pytest.raises(Conflict) as refused:
        guards.check(context("member"), an_instance("paused", None), "start")
    assert refused.value.title == "cannot start: web is PAUSED, it must be SHUTOFF"
    assert refused.value.hint == "Unpause it first."
    with pytest.raises(Conflict, match="cannot stop: web is busy: rebooting"):
        guards.check(context("member"), an_instance("active", "rebooting"), "stop")
    with pytest.raises(Conflict, match="cannot stop: web is locked by its owner"):
        guards.check(context("member"), an_instance("active", None, locked=True), "stop")


def test_an_admins_lock_is_an_admins_to_open() -> None:
    locked = an_instance("active", None, locked=True)
    locked.locked_by = "admin"
    assert guards.reason(context("member"), locked, "unlock") is not None
    assert guards.reason(context("admin"), locked, "unlock") is None
