"""Snapshots of volumes: of those nobody has, and with force of those a guest has, crash-consistent or quiesced."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col

from core import audit, names
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.identity.policy import authorize
from core.operations import operations
from core.operations.operations import Operation, State
from core.sql import select
from core.store import clock_of, now
from core.volumes import access, guards, placement, properties, still, usage
from core.volumes.tables import Snapshot, Volume, VolumeType


def create(
    session: Session,
    ctx: Context,
    *,
    volume: str,
    name: str = "",
    description: str = "",
    force: bool = False,
    quiesce: bool = False,
    properties: dict[str, str] | None = None,
) -> tuple[Snapshot, Operation]:
    """The volume as it is at one moment. A volume in use needs `force`; `quiesce` has its guest agent freeze the file
    systems meanwhile, where one answers (the snapshot tells whether it did).

    Raises Invalid, NotFound, Conflict, Forbidden, QuotaExceeded.
    """
    of = access.find(session, ctx, volume, rule="snapshot:create")
    if name:
        names.check(name, "snapshot")
    kept = _merged({}, properties)
    type = session.get(VolumeType, of.type_id) if of.type_id else None
    usage.check(session, ctx, of.project_id, type=type, snapshots=1, gigabytes=of.size_gb)
    lane = placement.actor(session, of)
    guards.begin(session, ctx, of, "snapshot", force=force)
    snapshot = _row(session, ctx, of, name=name, description=description, properties=kept)
    audit.record(session, ctx, snapshot, kind="snapshot", action="create", after={"volume": guards.called(of)})
    return snapshot, _enqueue(session, ctx, snapshot, "create", lane=lane, args={"quiesce": quiesce})


def hidden(session: Session, ctx: Context, volume: Volume) -> Snapshot:
    """One that a backup or a copy makes for itself: in no list, no quota, no guard. Whoever asks makes and drops it
    (`kinds.snapshots.make_snapshot`, `drop_snapshot`)."""
    return _row(session, ctx, volume, hidden=True)


def delete(session: Session, ctx: Context, id_or_name: str) -> Operation:
    """What is made from it stays. Raises Conflict for one that is being made, or from which a volume is being made."""
    authorize(ctx, "snapshot:delete")
    snapshot = find(session, ctx, id_or_name)
    for operation in operations.open_on(session, snapshot.id):
        if operation.kind == "snapshot.delete":
            if operation.state == State.BLOCKED:
                operations.retry(session, ctx, operation.id)
            return operation
    if snapshot.status not in ("available", "error", "error_deleting"):
        raise Conflict(
            f"snapshot {guards.called(snapshot)} is {snapshot.status}, it must be available or error",
            hint="Wait for what runs on it.",
        )
    still.check_not_copied(session, snapshot.id, f"snapshot {guards.called(snapshot)}")
    volume = session.get_one(Volume, snapshot.volume_id, populate_existing=True)
    if volume.status in _TAKEN:
        raise Conflict(f"volume {guards.called(volume)} is {volume.status}", hint="Wait for it.")
    lane = placement.actor(session, volume)
    before = snapshot.status
    snapshot.status, snapshot.updated_at = "deleting", now(session)
    session.flush()
    audit.record(session, ctx, snapshot, kind="snapshot", action="delete", before={"status": before})
    return _enqueue(session, ctx, snapshot, "delete", lane=lane)


_TAKEN = ("attaching", "detaching", "extending", "reverting", "retyping", "deleting", "restoring-backup")
"""What a volume is while somebody else works on what its snapshots stand on, or takes it elsewhere."""


def set(
    session: Session,
    ctx: Context,
    id_or_name: str,
    *,
    name: str | None = None,
    description: str | None = None,
    properties: dict[str, str] | None = None,
) -> Snapshot:
    """Change what is not None; properties are merged."""
    authorize(ctx, "snapshot:set")
    snapshot = find(session, ctx, id_or_name)
    if name:
        names.check(name, "snapshot")
    kept = None if properties is None else _merged(snapshot.properties, properties)
    values: dict[str, Any] = {"name": name, "description": description, "properties": kept}
    return _write(session, ctx, snapshot, {field: value for field, value in values.items() if value is not None})


def unset(session: Session, ctx: Context, id_or_name: str, *, properties: tuple[str, ...]) -> Snapshot:
    authorize(ctx, "snapshot:set")
    snapshot = find(session, ctx, id_or_name)
    return _write(session, ctx, snapshot, {"properties": _merged(snapshot.properties, unset=properties)})


def find(session: Session, ctx: Context, id_or_name: str) -> Snapshot:
    """By id, or by a name that is unique in the project. Raises NotFound (also for others'), Invalid."""
    authorize(ctx, "snapshot:list")
    wanted = (col(Snapshot.id) == id_or_name) | (col(Snapshot.name) == id_or_name)
    query = (
        select(Snapshot)
        .where(wanted, col(Snapshot.deleted_at) == 0, ~col(Snapshot.hidden))
        .execution_options(populate_existing=True)
    )
    if not ctx.is_admin:
        query = query.where(col(Snapshot.project_id) == ctx.project_id)
    rows = list(session.execute(query.limit(20)).scalars()) if id_or_name else []
    own = [row for row in rows if row.project_id == ctx.project_id or row.id == id_or_name]
    if not own and not (rows and ctx.all_projects):
        raise NotFound(f"no snapshot {id_or_name!r}", hint="skydeck volume snapshot list shows them.")
    found = own or rows
    if len(found) > 1:
        raise Invalid(f"{len(found)} snapshots are named {id_or_name!r}", hint="Use the id.")
    return found[0]


def of_volume(session: Session, volume_id: str) -> list[Snapshot]:
    """Those that are there, hidden ones as well, oldest first."""
    query = (
        select(Snapshot)
        .where(col(Snapshot.volume_id) == volume_id, col(Snapshot.deleted_at) == 0)
        .order_by(col(Snapshot.number))
        .execution_options(populate_existing=True)
    )
    return list(session.execute(query).scalars())


_merged = properties.merged


def _row(
    session: Session,
    ctx: Context,
    volume: Volume,
    *,
    name: str = "",
    description: str = "",
    hidden: bool = False,
    properties: dict[str, str] | None = None,
) -> Snapshot:
    highest = select(func.max(Snapshot.number)).where(col(Snapshot.volume_id) == volume.id)
    at = now(session)
    snapshot = Snapshot(
        id=clock_of(session).uuid(),
        name=name,
        description=description,
        project_id=volume.project_id,
        user_id=ctx.user_id,
        volume_id=volume.id,
        size_gb=volume.size_gb,
        hidden=hidden,
        properties=properties or {},
        number=int(session.execute(highest).scalar_one() or 0) + 1,
        created_at=at,
        updated_at=at,
    )
    session.add(snapshot)
    session.flush()
    return snapshot


def _write(session: Session, ctx: Context, snapshot: Snapshot, values: dict[str, Any]) -> Snapshot:
    if audit.change(session, ctx, snapshot, kind="snapshot", values=values):
        snapshot.updated_at = now(session)
        session.flush()
    return snapshot


def _enqueue(
    session: Session, ctx: Context, snapshot: Snapshot, verb: str, *, lane: str, args: dict[str, Any] | None = None
) -> Operation:
    return operations.enqueue(
        session,
        ctx,
        f"snapshot.{verb}",
        object_kind="snapshot",
        object_id=snapshot.id,
        object_name=snapshot.name,
        project_id=snapshot.project_id,
        lane=lane,
        args=args,
    )
