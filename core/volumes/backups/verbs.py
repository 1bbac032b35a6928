"""What can be done with backups: checked, counted and promised in one transaction each. States are cinder's
(semantics F)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col

from core import audit, names
from core.config import Config
from core.context import Context
from core.errors import Conflict, Invalid, NotFound, Unavailable
from core.identity.policy import authorize
from core.operations import operations
from core.operations.operations import Operation, State
from core.sql import select
from core.store import clock_of, now
from core.volumes import access, guards, placement, snapshots, usage, volumes
from core.volumes.backups import containers
from core.volumes.tables import BackendHost, Backup, Snapshot, Volume, VolumeType

_UNDER_WAY = ("creating", "restoring", "deleting")


def create(
    session: Session,
    ctx: Context,
    config: Config,
    *,
    volume: str,
    name: str = "",
    description: str = "",
    incremental: bool = False,
    force: bool = False,
    snapshot: str | None = None,
    container: str | None = None,
) -> tuple[Backup, Operation]:
    """The volume as it is now, or as `snapshot` has it. In use it needs `force`: it is then as after a power cut.

    `incremental` reads what changed since the newest backup of the volume in the container. Raises Invalid, NotFound,
    Conflict (also without anything to increment on), Forbidden, QuotaExceeded, Unavailable.
    """
    of = access.find(session, ctx, volume, rule="backup:create")
    if name:
        names.check(name, "backup")
    where = containers.named(config, container)
    taken = _snapshot(session, ctx, of, snapshot)
    parent = newest(session, of.id, where)
    if incremental and parent is None:
        raise Conflict(
            f"there is no backup of volume {guards.called(of)} in {where} to increment on",
            hint="Make a full one first.",
        )
    size = taken.size_gb if taken is not None else of.size_gb
    usage.check(session, ctx, of.project_id, type=None, backups=1, backup_gigabytes=size)
    lane = placement.actor(session, of)
    base, keep = None, False
    if taken is not None:
        _begin_snapshot(session, of, taken)
    else:
        freeze, keep = _freezes(session, of, lane)
        guards.begin(session, ctx, of, "backup", force=force)
        base = snapshots.hidden(session, ctx, of) if freeze else None
    at = now(session)
    type = session.get(VolumeType, of.type_id) if of.type_id else None
    backup = Backup(
        id=clock_of(session).uuid(),
        name=name,
        description=description,
        project_id=of.project_id,
        user_id=ctx.user_id,
        volume_id=of.id,
        volume_name=of.name,
        snapshot_id=taken.id if taken is not None else None,
        base_snapshot_id=base.id if base is not None else None,
        parent_id=parent.id if incremental and parent is not None else None,
        size_gb=size,
        container=where,
        volume_properties={
            "bootable": of.bootable,
            "type": type.name if type is not None else "",
            "image_properties": of.image_properties,
            "properties": of.properties,
        },
        created_at=at,
        updated_at=at,
    )
    session.add(backup)
    session.flush()
    told = {"volume": guards.called(of), "container": where, "incremental": incremental}
    audit.record(session, ctx, backup, kind="backup", action="create", after=told)
    return backup, _enqueue(
        session, ctx, backup, "create", lane=lane, args={**told, "force": force}, data={"keep_base": keep}
    )


def newest(session: Session, volume_id: str, container: str) -> Backup | None:
    """The newest backup of a volume there that is available, or being restored."""
    query = (
        select(Backup)
        .where(
            col(Backup.volume_id) == volume_id,
            col(Backup.container) == container,
            col(Backup.status).in_(["available", "restoring"]),
            col(Backup.deleted_at) == 0,
        )
        .order_by(col(Backup.data_at).desc(), col(Backup.created_at).desc())
    )
    return session.execute(query.limit(1)).scalar_one_or_none()


def _snapshot(session: Session, ctx: Context, of: Volume, wanted: str | None) -> Snapshot | None:
    if wanted is None:
        return None
    found = snapshots.find(session, ctx, wanted)
    if found.volume_id != of.id:
        raise Invalid(f"snapshot {guards.called(found)} is not of volume {guards.called(of)}")
    return found


def _begin_snapshot(session: Session, of: Volume, taken: Snapshot) -> None:
    """Semantics F: the snapshot is backing-up meanwhile, the volume as it was."""
    if of.status not in (guards.AVAILABLE, guards.IN_USE):
        raise Conflict(f"volume {guards.called(of)} is {of.status}", hint="Wait for what runs on it.")
    if not _move(session, taken, ("available",), "backing-up"):
        raise Conflict(f"snapshot {guards.called(taken)} is {taken.status}, it must be available", hint="Wait for it.")


def _freezes(session: Session, of: Volume, host_id: str) -> tuple[bool, bool]:
    """Whether a hidden snapshot is made to read from, and whether it is kept, to tell by it what changes from now on.
    Raises Invalid where one is needed and cannot be had."""
    seen = session.get(BackendHost, (of.backend_id, host_id))
    can = frozenset(seen.capabilities if seen is not None else ())
    if of.status != guards.IN_USE:
        # Nobody writes it meanwhile: without the one use the snapshot has no other.
        keep = {"snapshot", "changed"} <= can
        return keep, keep
    if seen is not None and "live_snapshot" not in can:
        raise Invalid(
            f"volume {guards.called(of)} is in use, and its backend takes no snapshots of such", hint="Detach it first."
        )
    return True, "changed" in can


# ---------------------------------------------------------------------------- the others


def set(
    session: Session, ctx: Context, id_or_name: str, *, name: str | None = None, description: str | None = None
) -> Backup:
    """Change what is not None."""
    authorize(ctx, "backup:set")
    backup = find(session, ctx, id_or_name)
    if name:
        names.check(name, "backup")
    values = {key: value for key, value in {"name": name, "description": description}.items() if value is not None}
    if audit.change(session, ctx, backup, kind="backup", values=values):
        backup.updated_at = now(session)
        session.flush()
    return backup


def delete(session: Session, ctx: Context, id_or_name: str, *, force: bool = False) -> Operation:
    """`force` takes one that is still being made or restored as well, when that has ended. Raises Conflict for other
    states, and while other backups were made as increments of it."""
    authorize(ctx, "backup:delete")
    backup = find(session, ctx, id_or_name)
    for operation in operations.open_on(session, backup.id):
        if operation.kind == "backup.delete":
            if operation.state == State.BLOCKED:
                operations.retry(session, ctx, operation.id)
            return operation
    dependent = select(Backup.name, Backup.id).where(
        col(Backup.parent_id) == backup.id, col(Backup.deleted_at) == 0, col(Backup.status) != "error"
    )
    if (child := session.execute(dependent.limit(1)).first()) is not None:
        raise Conflict(
            f"backup {child.name or child.id} is an increment of backup {guards.called(backup)}",
            hint="Delete the newer one first.",
        )
    before = backup.status
    allowed = ("available", "error", "error_deleting", *(_UNDER_WAY if force else ()))
    if not _move(session, backup, allowed, "deleting"):
        raise Conflict(
            f"backup {guards.called(backup)} is {backup.status}, it must be available or error",
            hint="Wait for what runs on it.",
        )
    audit.record(session, ctx, backup, kind="backup", action="delete", before={"status": before})
    return _enqueue(session, ctx, backup, "delete", lane=_lane(session, backup))


def restore(
    session: Session,
    ctx: Context,
    config: Config,
    id_or_name: str,
    *,
    volume: str | None = None,
    name: str | None = None,
) -> tuple[Volume, Operation]:
    """Into a volume that is there, available and large enough, which is then as it was; or into a new one, named as the
    one of before unless `name` says otherwise.

    Raises Invalid, NotFound, Conflict, Forbidden, QuotaExceeded, NoValidHost, Unavailable.
    """
    authorize(ctx, "backup:restore")
    backup = find(session, ctx, id_or_name)
    containers.named(config, backup.container)
    _take(session, backup, "restoring")
    if volume is None:
        target = _new_volume(session, ctx, config, backup, name or backup.volume_name or f"restore-{backup.id[:8]}")
    else:
        target = access.find(session, ctx, volume)
        if target.size_gb < backup.size_gb:
            raise Invalid(
                f"volume {guards.called(target)} has {target.size_gb} GiB, the backup {backup.size_gb}",
                hint="Extend it, or restore to a new one.",
            )
        guards.begin(session, ctx, target, "restore")
    told = {"volume": guards.called(target), "new": volume is None}
    audit.record(session, ctx, backup, kind="backup", action="restore", after=told)
    return target, operations.enqueue(
        session,
        ctx,
        "backup.restore",
        # After its create, when it is new: operations on one object keep their order.
        object_kind="volume",
        object_id=target.id,
        object_name=target.name,
        project_id=target.project_id,
        lane=placement.actor(session, target),
        args={"backup": backup.id, **told},
        data={"backup": backup.id, "fresh": volume is None},
    )


def _new_volume(session: Session, ctx: Context, config: Config, backup: Backup, name: str) -> Volume:
    kept = backup.volume_properties
    type_name = str(kept.get("type") or "")
    known = session.execute(select(VolumeType.id).where(col(VolumeType.name) == type_name)).first()
    made, _ = volumes.create(
        session,
        ctx,
        config,
        name=name,
        size_gb=backup.size_gb,
        type=type_name if known is not None else None,
        properties=kept.get("properties") or None,
        bootable=bool(kept.get("bootable")),
    )
    made.source_kind, made.source_id = "backup", backup.id
    made.image_properties = dict(kept.get("image_properties") or {})
    session.flush()
    return made


def verify(session: Session, ctx: Context, id_or_name: str) -> Operation:
    """Read every chunk again and compare its digest. A backup that is damaged is in `error` afterwards."""
    authorize(ctx, "backup:restore")
    backup = find(session, ctx, id_or_name)
    _check_whole(backup, also=("error",))
    audit.record(session, ctx, backup, kind="backup", action="verify")
    return _enqueue(session, ctx, backup, "verify")


def drill(session: Session, ctx: Context, config: Config, id_or_name: str) -> Operation:
    """Prove that it boots: restored to a volume for the while, started on a network of its own, until its console says
    so; then all of that is deleted, and backup and volume are proven. Takes its room in the project's quota."""
    authorize(ctx, "backup:restore")
    authorize(ctx, "instance:create")
    backup = find(session, ctx, id_or_name)
    containers.named(config, backup.container)
    _check_whole(backup)
    if not backup.volume_properties.get("bootable"):
        raise Invalid(
            f"backup {guards.called(backup)} is of a volume that is not bootable",
            hint="skydeck volume set --bootable, before it is backed up.",
        )
    audit.record(session, ctx, backup, kind="backup", action="drill")
    return _enqueue(session, ctx, backup, "drill")


def find(session: Session, ctx: Context, id_or_name: str) -> Backup:
    """By id, or by a name that is unique in the project. Raises NotFound (also for others'), Invalid."""
    authorize(ctx, "backup:list")
    wanted = (col(Backup.id) == id_or_name) | (col(Backup.name) == id_or_name)
    query = select(Backup).where(wanted, col(Backup.deleted_at) == 0).execution_options(populate_existing=True)
    if not ctx.is_admin:
        query = query.where(col(Backup.project_id) == ctx.project_id)
    rows = list(session.execute(query.limit(20)).scalars()) if id_or_name else []
    own = [row for row in rows if row.project_id == ctx.project_id or row.id == id_or_name]
    if not own and not (rows and ctx.all_projects):
        raise NotFound(f"no backup {id_or_name!r}", hint="skydeck volume backup list shows them.")
    found = own or rows
    if len(found) > 1:
        raise Invalid(f"{len(found)} backups are named {id_or_name!r}", hint="Use the id.")
    return found[0]


def _check_whole(backup: Backup, *, also: tuple[str, ...] = ()) -> None:
    if backup.status not in ("available", *also) or not backup.manifest:
        raise Conflict(
            f"backup {guards.called(backup)} is {backup.status}, it must be available",
            hint=str((backup.fault or {}).get("title") or "Wait for what runs on it."),
        )


def _take(session: Session, backup: Backup, status: str) -> None:
    _check_whole(backup)
    if not _move(session, backup, ("available",), status):
        raise Conflict(f"backup {guards.called(backup)} is {backup.status}, it must be available", hint="Wait for it.")


def _move(session: Session, row: Backup | Snapshot, states: tuple[str, ...], status: str) -> bool:
    """Compare-and-swap of a status; the row is as the database has it afterwards."""
    table: Any = type(row)
    session.flush()
    moved = session.execute(
        update(table)
        .where(col(table.id) == row.id, col(table.status).in_(states))
        .values(status=status, updated_at=now(session))
        .execution_options(synchronize_session=False)
    )
    session.refresh(row)
    return bool(moved.rowcount == 1)  # type: ignore[attr-defined]


def _lane(session: Session, backup: Backup) -> str:
    """The host that has its base snapshot; none when there is nothing to be told there, or it cannot be told now."""
    volume = session.get(Volume, backup.volume_id) if backup.base_snapshot_id else None
    if volume is None or volume.deleted_at:
        return ""
    try:
        return placement.actor(session, volume)
    except Unavailable:
        return ""


def _enqueue(
    session: Session,
    ctx: Context,
    backup: Backup,
    verb: str,
    *,
    lane: str = "",
    args: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
) -> Operation:
    return operations.enqueue(
        session,
        ctx,
        f"backup.{verb}",
        object_kind="backup",
        object_id=backup.id,
        object_name=backup.name or backup.volume_name,
        project_id=backup.project_id,
        lane=lane,
        args=args,
        data=data,
    )
