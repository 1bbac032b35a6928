"""Which verb is allowed in which state: the table of semantics.md A, as data.

One predicate serves the verb (which raises it), the app (which greys the key and shows it) and the tests.
"""

from __future__ import annotations

import dataclasses

from core.compute.instances import states as s
from core.compute.instances.table import Instance
from core.context import Context
from core.errors import Conflict
from core.identity.policy import allowed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guard:
    """What a verb demands of an instance before anything is changed."""

    rule: str
    """The policy rule."""
    vm_states: frozenset[str] | None
    """None: any."""
    task_states: frozenset[str | None] | None = frozenset({None})
    """None: any; the default demands that no task runs."""
    lock: bool = True
    launched: bool = True
    task: str | None = None
    """The task_state it sets while it works."""


def _in(*states: str) -> frozenset[str]:
    return frozenset(states)


_HARD_REBOOT_TASKS: frozenset[str | None] = frozenset(
    {
        None,
        s.REBOOTING,
        s.REBOOT_PENDING,
        s.REBOOT_STARTED,
        s.REBOOTING_HARD,
        s.RESUMING,
        s.UNPAUSING,
        s.PAUSING,
        s.SUSPENDING,
    }
)

_TAKES_VOLUMES = _in(s.ACTIVE, s.PAUSED, s.STOPPED, s.RESIZED, s.SOFT_DELETED, s.SHELVED, s.SHELVED_OFFLOADED)

GUARDS: dict[str, Guard] = {
    "start": Guard(rule="instance:power", vm_states=_in(s.STOPPED), task=s.POWERING_ON),
    "stop": Guard(rule="instance:power", vm_states=_in(s.ACTIVE, s.ERROR), task=s.POWERING_OFF),
    "reboot_soft": Guard(rule="instance:power", vm_states=_in(s.ACTIVE), task=s.REBOOTING),
    "reboot_hard": Guard(
        rule="instance:power",
        vm_states=_in(s.ACTIVE, s.STOPPED, s.PAUSED, s.SUSPENDED, s.ERROR),
        task_states=_HARD_REBOOT_TASKS,
        task=s.REBOOTING_HARD,
    ),
    "pause": Guard(rule="instance:power", vm_states=_in(s.ACTIVE), task=s.PAUSING),
    "unpause": Guard(rule="instance:power", vm_states=_in(s.PAUSED), task=s.UNPAUSING),
    "suspend": Guard(rule="instance:power", vm_states=_in(s.ACTIVE), task=s.SUSPENDING),
    "resume": Guard(rule="instance:power", vm_states=_in(s.SUSPENDED), task=s.RESUMING),
    "delete": Guard(rule="instance:delete", vm_states=None, task_states=None, launched=False, task=s.DELETING),
    "metadata": Guard(
        rule="instance:set",
        vm_states=_in(s.ACTIVE, s.PAUSED, s.SUSPENDED, s.STOPPED),
        task_states=None,
    ),
    "attach_interface": Guard(rule="instance:set", vm_states=_in(s.ACTIVE, s.PAUSED, s.STOPPED)),
    "detach_interface": Guard(rule="instance:set", vm_states=_in(s.ACTIVE, s.PAUSED, s.STOPPED)),
    "attach_volume": Guard(rule="volume:attach", vm_states=_TAKES_VOLUMES),
    "detach_volume": Guard(rule="volume:attach", vm_states=_TAKES_VOLUMES),
    "create_image": Guard(
        rule="instance:set",
        vm_states=_in(s.ACTIVE, s.STOPPED, s.PAUSED, s.SUSPENDED),
        lock=False,
        task=s.IMAGE_SNAPSHOT,
    ),
    "rename": Guard(rule="instance:set", vm_states=None, task_states=None, lock=False, launched=False),
    "lock": Guard(rule="instance:lock", vm_states=None, task_states=None, lock=False, launched=False),
    "unlock": Guard(rule="instance:lock", vm_states=None, task_states=None, lock=False, launched=False),
    "console": Guard(
        rule="instance:console",
        vm_states=None,
        task_states=None,
        lock=False,
    ),
    "display": Guard(rule="instance:console", vm_states=_in(s.ACTIVE, s.PAUSED), task_states=None, lock=False),
    "ssh": Guard(rule="instance:ssh", vm_states=_in(s.ACTIVE), task_states=None, lock=False),
    "console_log": Guard(rule="instance:console_log", vm_states=None, task_states=None, lock=False, launched=False),
}

_NO_CONSOLE = frozenset({s.DELETING, "migrating"})


def reason(ctx: Context, instance: Instance, verb: str) -> tuple[str, str] | None:
    """None when the verb is allowed, else (why not, what to do about it)."""
    guard = GUARDS[verb]
    if not allowed(ctx, guard.rule):
        return f"policy {guard.rule} forbids it to {ctx.user_name}", "An admin can give you the role."
    if guard.lock and instance.locked and not ctx.is_admin:
        because = f": {instance.locked_reason}" if instance.locked_reason else ""
        return f"{instance.name} is locked by its {instance.locked_by}{because}", "Unlock it first."
    if verb == "unlock" and instance.locked_by == "admin" and not allowed(ctx, "instance:unlock_override"):
        return f"{instance.name} was locked by an admin", "Only an admin can unlock it."
    if guard.launched and instance.launched_at is None:
        return f"{instance.name} has never been launched", "Wait until it is ACTIVE, or delete it."
    if guard.vm_states is not None and instance.vm_state not in guard.vm_states:
        wanted = " or ".join(sorted(s.status(state, None) for state in guard.vm_states))
        return f"{instance.name} is {instance.status}, it must be {wanted}", _next(instance)
    if guard.task_states is not None and instance.task_state not in guard.task_states:
        return f"{instance.name} is busy: {instance.task_state}", "Wait for the running operation."
    if verb == "console" and instance.task_state in _NO_CONSOLE:
        return f"{instance.name} is {instance.task_state}", ""
    return None


def check(ctx: Context, instance: Instance, verb: str) -> Guard:
    """The verb's guard, passed. Raises Conflict (state, lock) naming cause and next act; policy is checked before."""
    why = reason(ctx, instance, verb)
    if why is not None:
        raise Conflict(f"cannot {verb.replace('_', ' ')}: {why[0]}", hint=why[1])
    return GUARDS[verb]


def _next(instance: Instance) -> str:
    return {
        s.STOPPED: "Start it first.",
        s.PAUSED: "Unpause it first.",
        s.SUSPENDED: "Resume it first.",
        s.BUILDING: "Wait until it is built.",
        s.ERROR: "Look at its events; delete it, or reboot it hard.",
    }.get(instance.vm_state, "")
