"""Everything done to an instance after its create. Each verb: policy, guard, then intent, operation and audit."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col

from core import events, names
from core.compute.instances import guards, states
from core.compute.instances.create import check_properties
from core.compute.instances.table import Instance
from core.context import Context
from core.errors import Invalid, NotFound
from core.identity.policy import authorize
from core.operations import operations
from core.operations.operations import Operation
from core.sql import select
from core.store import now

_WANT = {
    "start": "running",
    "stop": "stopped",
    "pause": "paused",
    "unpause": "running",
    "suspend": "suspended",
    "resume": "running",
    "reboot_soft": "running",
    "reboot_hard": "running",
}
"""What each power verb makes the project's wish."""


def find(session: Session, ctx: Context, id_or_name: str, *, rule: str = "instance:list") -> Instance:
    """By id, or by a name that is unique in the project. Raises NotFound (also for others'), Invalid."""
    authorize(ctx, rule)
    wanted = (col(Instance.id) == id_or_name) | (col(Instance.name) == id_or_name)
    query = select(Instance).where(wanted, col(Instance.deleted_at) == 0)
    if not ctx.is_admin:
        query = query.where(col(Instance.project_id) == ctx.project_id)
    rows = list(session.execute(query.limit(20)).scalars())
    own = [row for row in rows if row.project_id == ctx.project_id or row.id == id_or_name]
    if not own and not (rows and ctx.all_projects):
        raise NotFound(f"no server {id_or_name!r}", hint="skydeck server list shows them.")
    found = own or rows
    if len(found) > 1:
        raise Invalid(f"{len(found)} servers are named {id_or_name!r}", hint="Use the id.")
    return found[0]


def power(session: Session, ctx: Context, id_or_name: str, verb: str) -> Operation:
    """start, stop, pause, unpause, suspend, resume, reboot_soft or reboot_hard, when its guard allows.

    Raises NotFound, Forbidden, Conflict.
    """
    if verb not in _WANT:
        raise Invalid(f"unknown power verb {verb!r}", hint=f"One of {', '.join(_WANT)}.")
    instance = find(session, ctx, id_or_name, rule=guards.GUARDS[verb].rule)
    guard = guards.check(ctx, instance, verb)
    before = {"vm_state": instance.vm_state, "task_state": instance.task_state}
    instance.task_state, instance.want, instance.updated_at = guard.task, _WANT[verb], now(session)
    session.flush()
    operation = _enqueue(session, ctx, instance, f"instance.{verb}")
    _record(session, ctx, instance, f"instance.{verb}", before=before, after={"task_state": guard.task})
    return operation


def delete(session: Session, ctx: Context, id_or_name: str) -> Operation:
    """Delete, from any state. What still runs or waits on the instance is cancelled first; deleting twice is once."""
    instance = find(session, ctx, id_or_name, rule="instance:delete")
    guards.check(ctx, instance, "delete")
    open_now = operations.open_on(session, instance.id)
    for operation in open_now:
        if operation.kind == "instance.delete":
            if operation.state == operations.State.BLOCKED:
                operations.retry(session, ctx, operation.id)
            return operation
        operations.request_cancel(session, operation)
    instance.task_state, instance.want, instance.updated_at = states.DELETING, "absent", now(session)
    session.flush()
    operation = _enqueue(session, ctx, instance, "instance.delete")
    _record(session, ctx, instance, "instance.delete", before={"vm_state": instance.vm_state})
    return operation


def lock(session: Session, ctx: Context, id_or_name: str, *, reason: str | None = None) -> Instance:
    """Only an admin, or whoever unlocks it, changes a locked instance. Its owner's second lock changes nothing."""
    instance = find(session, ctx, id_or_name, rule="instance:lock")
    guards.check(ctx, instance, "lock")
    owner = instance.project_id == ctx.project_id
    if instance.locked and owner:
        return instance  # as in nova: it would weaken an admin's lock
    instance.locked, instance.locked_reason, instance.updated_at = True, reason, now(session)
    instance.locked_by = "owner" if owner else "admin"
    _record(session, ctx, instance, "instance.lock", after={"locked": True, "reason": reason})
    return instance


def unlock(session: Session, ctx: Context, id_or_name: str) -> Instance:
    """Raises Conflict when an admin locked it and the caller is none."""
    instance = find(session, ctx, id_or_name, rule="instance:lock")
    guards.check(ctx, instance, "unlock")
    instance.locked, instance.locked_by, instance.locked_reason = False, None, None
    instance.updated_at = now(session)
    _record(session, ctx, instance, "instance.unlock", after={"locked": False})
    return instance


def rename(session: Session, ctx: Context, id_or_name: str, name: str) -> Instance:
    """The display name only: the guest's hostname stays what it was told at launch."""
    instance = find(session, ctx, id_or_name, rule="instance:set")
    guards.check(ctx, instance, "rename")
    before = {"name": instance.name}
    instance.name, instance.updated_at = names.check(name, "server"), now(session)
    _record(session, ctx, instance, "instance.rename", before=before, after={"name": name})
    return instance


def set_properties(
    session: Session, ctx: Context, id_or_name: str, values: dict[str, str], *, unset: tuple[str, ...] = ()
) -> Instance:
    """Change a server's metadata, and have its host told. Raises QuotaExceeded for too many items."""
    instance = find(session, ctx, id_or_name, rule="instance:set")
    guards.check(ctx, instance, "metadata")
    merged = {key: value for key, value in {**instance.properties, **values}.items() if key not in unset}
    check_properties(session, ctx, merged)
    before = {"properties": dict(instance.properties)}
    instance.properties, instance.updated_at = merged, now(session)
    session.flush()
    if instance.properties != before["properties"]:
        update(session, ctx, instance)
    _record(session, ctx, instance, "instance.metadata", before=before, after={"properties": merged})
    return instance


def update(session: Session, ctx: Context, instance: Instance) -> Operation | None:
    """Have the host told what the instance is now, its power left alone. None when nobody needs to be told: it is on no
    host, or an update that has not begun will tell this as well."""
    if instance.host_id is None:
        return None
    for operation in operations.open_on(session, instance.id):
        if operation.kind == "instance.update" and operation.state != operations.State.RUNNING:
            return operation
    return _enqueue(session, ctx, instance, "instance.update")


def _enqueue(session: Session, ctx: Context, instance: Instance, kind: str) -> Operation:
    return operations.enqueue(
        session,
        ctx,
        kind,
        object_kind="instance",
        object_id=instance.id,
        object_name=instance.name,
        project_id=instance.project_id,
        lane=instance.host_id or "",
    )


def _record(session: Session, ctx: Context, instance: Instance, action: str, **changes: Any) -> None:
    events.record(
        session,
        ctx,
        action,
        kind="instance",
        id=instance.id,
        name=instance.name,
        project_id=instance.project_id,
        **changes,
    )
