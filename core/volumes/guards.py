"""Which verb is allowed on a volume in which state, and what it is meanwhile: semantics F, as data.

One table serves the verbs (which raise it), the app (which greys the key and shows it) and the tests. Every move is one
UPDATE that names the states it may begin in (`attachments.move`), so of two verbs at once one wins.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlmodel import Session

from core.context import Context
from core.errors import Conflict
from core.identity.policy import allowed
from core.volumes import attachments, still
from core.volumes.tables import Volume

AVAILABLE, IN_USE = "available", "in-use"
DELETING, ERROR_DELETING = "deleting", "error_deleting"
ERROR, ERROR_EXTENDING = "error", "error_extending"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guard:
    """What a verb demands of a volume before anything is changed."""

    rule: str
    """The policy rule."""
    states: tuple[str, ...]
    forced: tuple[str, ...] = ()
    """Besides, with force."""
    task: str | None = None
    """The status it has meanwhile; None: it keeps its own."""
    still: bool = True
    """Whether no snapshot of it may be on its way in or out."""


GUARDS: dict[str, Guard] = {
    "delete": Guard(
        rule="volume:delete",
        states=(AVAILABLE, ERROR, "error_restoring", ERROR_EXTENDING, "error_managing", ERROR_DELETING),
        task=DELETING,
    ),
    "extend": Guard(rule="volume:set", states=(AVAILABLE, IN_USE), task="extending"),
    "revert": Guard(rule="volume:set", states=(AVAILABLE,), task="reverting"),
    "retype": Guard(rule="volume:set", states=(AVAILABLE, IN_USE), task="retyping"),
    "read_only": Guard(rule="volume:set", states=(AVAILABLE,), still=False),
    "transfer": Guard(rule="volume:transfer", states=(AVAILABLE,), task="awaiting-transfer"),
    "snapshot": Guard(rule="snapshot:create", states=(AVAILABLE,), forced=(IN_USE,), still=False),
    "clone": Guard(rule="volume:create", states=(AVAILABLE, IN_USE), still=False),
    "upload": Guard(rule="volume:upload", states=(AVAILABLE,), forced=(IN_USE,), task="uploading"),
    "backup": Guard(rule="backup:create", states=(AVAILABLE,), forced=(IN_USE,), task="backing-up", still=False),
    "restore": Guard(rule="backup:restore", states=(AVAILABLE,), task="restoring-backup"),
}
"""error_deleting may be deleted again: cinder lets its operator reset the state for that."""


def reason(
    ctx: Context, *, name: str, status: str, verb: str, force: bool = False, holders: str = ""
) -> tuple[str, str] | None:
    """None when the verb is allowed on a volume in this state, else (why not, what to do about it). Plain values, so
    that a list's row will do; `holders` is who has it."""
    guard = GUARDS[verb]
    if not allowed(ctx, guard.rule):
        return f"policy {guard.rule} forbids it to {ctx.user_name}", "An admin can give you the role."
    if status in guard.states or (force and status in guard.forced):
        return None
    wanted = " or ".join(guard.states[:2])
    who = f", by {holders}" if holders else ""
    if status in guard.forced:
        return f"volume {name} is {status}{who}", "With --force it is done all the same, as after a power cut."
    if status == IN_USE:
        return f"volume {name} is {status}{who}, it must be {wanted}", "Detach it first."
    return f"volume {name} is {status}{who}, it must be {wanted}", _NEXT.get(status, "Wait for what runs on it.")


_NEXT = {
    ERROR: "Delete it: its fault says why.",
    ERROR_DELETING: "Delete it again.",
    ERROR_EXTENDING: "Delete it, or have an admin look at its fault.",
    "awaiting-transfer": "Accept or delete the transfer first.",
}


def begin(session: Session, ctx: Context, volume: Volume, verb: str, *, force: bool = False) -> None:
    """Pass the verb's guard and move the volume into its task, if it has one. Policy is checked before.

    Raises Conflict naming the state and who has the volume, or the snapshot that is on its way.
    """
    guard = GUARDS[verb]
    states = guard.states + (guard.forced if force else ())
    if guard.still:
        still.check(session, volume)
    if guard.task is not None:
        passed = attachments.move(session, volume, states, guard.task)
    else:
        session.refresh(volume)
        passed = volume.status in states
    if not passed:
        why = reason(
            ctx,
            name=called(volume),
            status=volume.status,
            verb=verb,
            force=force,
            holders=attachments.holders(session, volume.id),
        ) or (f"volume {called(volume)} is {volume.status}", "")
        raise Conflict(f"cannot {verb.replace('_', ' ')}: {why[0]}", hint=why[1])


def settle(session: Session, volume: Volume, *, status: str | None = None, fault: dict[str, Any] | None = None) -> None:
    """The task is over: the volume is `status`, or None: what it is at rest."""
    session.flush()
    rest = status or attachments.resting(session, volume.id)
    attachments.move(session, volume, (volume.status,), rest)
    volume.previous_status, volume.fault = "", fault
    session.flush()


def called(thing: Any) -> str:
    """What a person knows it by."""
    return thing.name or thing.id
