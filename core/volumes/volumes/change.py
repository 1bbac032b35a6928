"""Everything done to a volume after its create, but for a change of type. Each verb: policy, values, guard, then
intent, operation and audit."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete as sql_delete
from sqlmodel import Session, col

from core import audit, names
from core.context import Context
from core.errors import Conflict, Forbidden, Invalid
from core.identity.policy import allowed
from core.operations import operations
from core.operations.operations import Operation, State
from core.store import now
from core.volumes import access, attachments, guards, placement, properties, snapshots, still, usage
from core.volumes.tables import Snapshot, Volume, VolumeTransfer, VolumeType
from core.volumes.volumes.create import LARGEST_GB


def delete(session: Session, ctx: Context, id_or_name: str, *, cascade: bool = False, force: bool = False) -> Operation:
    """Delete a volume, and with `cascade` its snapshots first. `force` (an admin's) does so from any state, as long as
    nobody has it attached. Deleting one that is being deleted is the same deletion.

    Raises Conflict naming its state, who has it, or what hangs on it; NotFound, Forbidden.
    """
    volume = access.find(session, ctx, id_or_name, rule="volume:delete")
    if force and not allowed(ctx, "volume:force_delete"):
        raise Forbidden("policy volume:force_delete needs the role admin", hint="Delete it without --force.")
    for operation in operations.open_on(session, volume.id):
        if operation.kind == "volume.delete":
            if operation.state == State.BLOCKED:
                operations.retry(session, ctx, operation.id)
            return operation
    before = volume.status
    holders = attachments.holders(session, volume.id)
    if holders:
        raise Conflict(f"volume {guards.called(volume)} is attached to {holders}", hint="Detach it there first.")
    mine = snapshots.of_volume(session, volume.id)
    shown = [one for one in mine if not one.hidden]
    if shown and not cascade:
        raise Conflict(
            f"volume {guards.called(volume)} has {len(shown)} snapshots",
            hint="Delete them first, or with it: --cascade.",
        )
    still.check_not_copied(session, volume.id, f"volume {guards.called(volume)}")
    for one in mine:
        still.check_not_copied(session, one.id, f"snapshot {guards.called(one)}")
    if force:
        _interrupt(session, volume, mine)
    lane = _lane(session, volume)
    if not force:
        guards.begin(session, ctx, volume, "delete")
    else:
        attachments.move(session, volume, (volume.status,), guards.DELETING)
    for one in mine:
        one.status, one.updated_at = "deleting", now(session)
    session.flush()
    operation = access.enqueue(session, ctx, volume, "delete", lane=lane, args={"cascade": cascade, "force": force})
    audit.record(session, ctx, volume, kind="volume", action="delete", before={"status": before})
    return operation


def _interrupt(session: Session, volume: Volume, mine: list[Snapshot]) -> None:
    """What runs on it or waits is cancelled: the deletion comes behind it. Nobody is offered it any more."""
    session.execute(sql_delete(VolumeTransfer).where(col(VolumeTransfer.volume_id) == volume.id))
    for object_id in (volume.id, *(one.id for one in mine)):
        for operation in operations.open_on(session, object_id):
            operations.request_cancel(session, operation)


def _lane(session: Session, volume: Volume) -> str:
    """The acting host."""
    return placement.actor(session, volume)


def extend(session: Session, ctx: Context, id_or_name: str, *, size_gb: int) -> Operation:
    """Grow a volume, also under a guest, which sees it at once. Raises Invalid, Conflict, QuotaExceeded, NotFound;
    Conflict as well when its backend has no room for more."""
    volume = access.find(session, ctx, id_or_name, rule="volume:set")
    if not volume.size_gb < size_gb <= LARGEST_GB:
        raise Invalid(
            f"volume {guards.called(volume)} has {volume.size_gb} GiB, it cannot be made {size_gb}",
            hint="A volume only grows.",
        )
    usage.check_size(session, volume.project_id, size_gb)
    type = session.get(VolumeType, volume.type_id) if volume.type_id else None
    usage.check(session, ctx, volume.project_id, type=type, gigabytes=size_gb - volume.size_gb)
    _room(session, volume, size_gb - volume.size_gb)
    lane = _lane(session, volume)
    had = volume.size_gb
    guards.begin(session, ctx, volume, "extend")
    # Promised from now on: two extends at once cannot both have the last of a quota.
    volume.size_gb = size_gb
    session.flush()
    operation = access.enqueue(
        session, ctx, volume, "extend", lane=lane, args={"size_gb": size_gb}, data={"had_gb": had}
    )
    audit.record(
        session, ctx, volume, kind="volume", action="extend", before={"size_gb": had}, after={"size_gb": size_gb}
    )
    return operation


def _room(session: Session, volume: Volume, more_gb: int) -> None:
    for one in placement.look(session):
        here = (one.backend_id, one.host_id) == (volume.backend_id, volume.host_id)
        if here and one.reached_by and one.room_gb < more_gb:
            raise Conflict(
                f"backend {one.name} can promise {max(0, int(one.room_gb))} GiB more, {more_gb} are needed",
                hint="Make room there, or retype the volume to another backend.",
            )


def revert(session: Session, ctx: Context, id_or_name: str, *, snapshot: str) -> Operation:
    """What was written since the volume's newest snapshot is dropped. Raises Conflict for an older snapshot, and while
    somebody has the volume; Invalid when the volume has grown since."""
    volume = access.find(session, ctx, id_or_name, rule="volume:set")
    to = snapshots.find(session, ctx, snapshot)
    if to.volume_id != volume.id:
        raise Invalid(f"snapshot {guards.called(to)} is of another volume")
    newest = max(snapshots.of_volume(session, volume.id), key=lambda one: one.number)
    if newest.hidden:
        raise Conflict(
            f"snapshot {guards.called(to)} is older than what a backup or a copy keeps of volume "
            f"{guards.called(volume)}: only the newest can be reverted to",
            hint="Delete the newer backup, or make a volume from the snapshot instead.",
        )
    if newest.id != to.id:
        raise Conflict(
            f"snapshot {guards.called(newest)} is newer: only the newest can be reverted to",
            hint="Make a volume from the older one instead.",
        )
    if to.status != "available":
        raise Conflict(f"snapshot {guards.called(to)} is {to.status}, it must be available")
    if to.size_gb != volume.size_gb:
        raise Invalid(
            f"volume {guards.called(volume)} has {volume.size_gb} GiB, at its snapshot it had {to.size_gb}",
            hint="Make a volume from the snapshot instead.",
        )
    lane = _lane(session, volume)
    guards.begin(session, ctx, volume, "revert")
    to.status, to.updated_at = "restoring", now(session)
    session.flush()
    operation = access.enqueue(
        session, ctx, volume, "revert", lane=lane, args={"snapshot": to.id}, data={"snapshot": to.id}
    )
    audit.record(session, ctx, volume, kind="volume", action="revert", after={"snapshot": guards.called(to)})
    return operation


def set(
    session: Session,
    ctx: Context,
    id_or_name: str,
    *,
    name: str | None = None,
    description: str | None = None,
    bootable: bool | None = None,
    read_only: bool | None = None,
    properties: dict[str, str] | None = None,
    image_properties: dict[str, str] | None = None,
) -> Volume:
    """Change what is not None; properties are merged. Raises Conflict when read_only changes while somebody has it."""
    volume = access.find(session, ctx, id_or_name, rule="volume:set")
    if name:
        names.check(name, "volume")
    if read_only is not None and read_only != volume.read_only:
        guards.begin(session, ctx, volume, "read_only")
    values: dict[str, Any] = {
        "name": name,
        "description": description,
        "bootable": bootable,
        "read_only": read_only,
        "properties": None if properties is None else _merged(volume.properties, properties),
        "image_properties": None
        if image_properties is None
        else _merged(volume.image_properties, image_properties, what="image property"),
    }
    return _write(session, ctx, volume, {field: value for field, value in values.items() if value is not None})


def unset(
    session: Session,
    ctx: Context,
    id_or_name: str,
    *,
    properties: tuple[str, ...] = (),
    image_properties: tuple[str, ...] = (),
) -> Volume:
    """Raises Invalid for what is not set."""
    volume = access.find(session, ctx, id_or_name, rule="volume:set")
    values = {
        "properties": _merged(volume.properties, unset=properties),
        "image_properties": _merged(volume.image_properties, unset=image_properties, what="image property"),
    }
    return _write(session, ctx, volume, values)


_merged = properties.merged


def _write(session: Session, ctx: Context, volume: Volume, values: dict[str, Any]) -> Volume:
    if audit.change(session, ctx, volume, kind="volume", values=values):
        volume.updated_at = now(session)
        session.flush()
    return volume
