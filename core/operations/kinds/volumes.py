"""volume.create, delete, extend, revert, retype: a volume made, changed and deleted by the host that acts for it.

What a failure leaves is as cinder has it: a volume that could not be made is in error, one that could not be grown in
error_extending, one that could not be deleted in error_deleting; one that a guest has is in-use as before. `fault` says
why, and names the operation.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col

from core import cloud
from core.errors import HostFailed
from core.operations.kinds import parts, storage
from core.operations.work import Kind, Step, Work
from core.store import now
from core.volumes import attachments, guards, qos, snapshots, wire
from core.volumes.tables import Backup, Snapshot, Volume
from hostd.spec import ErrorCode, VolumeSpec, Want

_log = logging.getLogger(__name__)


def _row(session: Session, work: Work) -> Volume:
    return session.get_one(Volume, work.operation.object_id, populate_existing=True)


def _fault(work: Work, error: dict[str, Any]) -> dict[str, Any]:
    return {**error, "operation": work.operation.id}


_CANCELLED: dict[str, Any] = {"type": "Cancelled", "title": "the operation was cancelled", "hint": ""}


def _done(session: Session, work: Work) -> None:
    storage.rest(session, work.operation.object_id)


# ---------------------------------------------------------------------------- create


async def make_volume(work: Work, volume_id: str) -> None:
    """Make a volume whose row is there, on the operation's host, with the image it is made from brought there first.
    Its status is the caller's. Idempotent; may be part of another operation's step."""
    host_id = work.operation.lane
    await _carry_image(work, volume_id)
    try:
        await _make(work, host_id, volume_id)
    except HostFailed as bad:
        if bad.code != ErrorCode.IMAGE_MISSING:
            raise
        # Pruned from the host's cache after it was carried: carry it again.
        image = await work.read(lambda session: wire.image_of(session, session.get_one(Volume, volume_id)))
        if image is not None:
            work.hosts.get(host_id).forget_image(image.digest)
        await _carry_image(work, volume_id)
        await _make(work, host_id, volume_id)


async def unmake_volume(work: Work, volume_id: str) -> None:
    """Take back what `make_volume` made on the host; the row is the caller's."""
    await storage.converge_volume(
        work, work.operation.lane, volume_id, note=f"unmake {volume_id}", spec=_absent, deadline=storage.SLOW
    )


async def _make(work: Work, host_id: str, volume_id: str) -> None:
    through = work.data.get("through")
    await storage.converge_volume(
        work,
        host_id,
        volume_id,
        note=f"make {volume_id}",
        spec=lambda session, row: wire.volume(session, row, through=through),
        deadline=storage.COPY,
    )


async def _carry_image(work: Work, volume_id: str) -> None:
    image = await work.read(lambda session: wire.image_of(session, session.get_one(Volume, volume_id)))
    if image is not None:
        await parts.carry_images(work, work.operation.lane, [image])


def _absent(session: Session, row: Volume) -> VolumeSpec:
    return wire.volume(session, row, want=Want.ABSENT)


async def _freeze(work: Work) -> None:
    if (through := work.data.get("through")) is not None:
        await storage.make_snapshot(work, through)


async def _thaw(work: Work) -> None:
    if (through := work.data.get("through")) is not None:
        await storage.drop_snapshot(work, through)


async def _let_go(work: Work) -> None:
    """The copy is whole. A snapshot it was made by and that stays is in nobody's way: it goes with its volume."""
    try:
        await _thaw(work)
    except HostFailed as bad:
        if bad.transient:
            raise
        _log.warning("a hidden snapshot of a copied volume stays: %s", bad.title)
        fault = _fault(work, bad.to_json())
        await work.write(lambda session: _stays(session, str(work.data["through"]), fault))


def _stays(session: Session, snapshot_id: str, fault: dict[str, Any]) -> None:
    row = session.get_one(Snapshot, snapshot_id, populate_existing=True)
    row.status, row.fault, row.updated_at = guards.ERROR_DELETING, fault, now(session)
    session.flush()


async def _images(work: Work) -> None:
    await _carry_image(work, work.operation.object_id)


async def _create(work: Work) -> None:
    await make_volume(work, work.operation.object_id)


async def _uncreate(work: Work) -> None:
    await unmake_volume(work, work.operation.object_id)


def _downloading(session: Session, work: Work, step: Step) -> None:
    if step.name == "images":
        volume = _row(session, work)
        if volume.source_kind == "image":
            attachments.move(session, volume, ("creating",), "downloading")


def _not_created(session: Session, work: Work, error: dict[str, Any]) -> None:
    storage.rest(session, work.operation.object_id, status=guards.ERROR, fault=_fault(work, error))


CREATE = Kind(
    steps=(
        Step(name="freeze", run=_freeze, undo=_thaw),
        Step(name="images", run=_images, weight=5, interruptible=True),
        Step(name="make", run=_create, undo=_uncreate, weight=5),
        Step(name="thaw", run=_let_go),
    ),
    complete=_done,
    failed=_not_created,
    cancelled=lambda session, work: _not_created(session, work, _CANCELLED | {"hint": "Delete the volume."}),
    show=_downloading,
)

# ---------------------------------------------------------------------------- delete


async def _drop_snapshots(work: Work) -> None:
    for snapshot in await work.read(lambda session: snapshots.of_volume(session, work.operation.object_id)):
        await storage.drop_snapshot(work, snapshot.id)


async def _delete(work: Work) -> None:
    await storage.converge_volume(
        work, work.operation.lane, work.operation.object_id, note="delete", spec=_absent, deadline=storage.SLOW
    )


def _deleted(session: Session, work: Work) -> None:
    volume = _row(session, work)
    volume.status, volume.deleted_at = "deleted", now(session)
    volume.updated_at, volume.fault = volume.deleted_at, None
    session.flush()


def _not_deleted(session: Session, work: Work, error: dict[str, Any]) -> None:
    """What could not be deleted is still there, and says why."""
    fault = _fault(work, error)
    guards.settle(session, _row(session, work), status=guards.ERROR_DELETING, fault=fault)
    for snapshot in snapshots.of_volume(session, work.operation.object_id):
        if snapshot.status == "deleting":
            _stays(session, snapshot.id, fault)


DELETE = Kind(
    steps=(
        Step(name="snapshots", run=_drop_snapshots),
        Step(name="delete", run=_delete, weight=2),
    ),
    complete=_deleted,
    failed=_not_deleted,
    cancelled=lambda session, work: _not_deleted(session, work, _CANCELLED | {"hint": "Delete it again."}),
)

# ---------------------------------------------------------------------------- extend


async def _extend(work: Work) -> None:
    await storage.converge_volume(work, work.operation.lane, work.operation.object_id, note="extend")


def _extended(session: Session, work: Work) -> None:
    storage.rest(session, work.operation.object_id)
    # What is limited per GiB may do more now.
    qos.tell_guests(session, cloud.system_context(session), [work.operation.object_id])


def _not_extended(session: Session, work: Work, error: dict[str, Any]) -> None:
    volume = _row(session, work)
    volume.size_gb = int(work.data["had_gb"])
    held = attachments.of_volume(session, volume.id)
    storage.rest(session, volume.id, status=None if held else guards.ERROR_EXTENDING, fault=_fault(work, error))


def _extend_cancelled(session: Session, work: Work) -> None:
    if work.data.get("extend"):
        # It was told: what it has now nobody read.
        _not_extended(session, work, _CANCELLED)
        return
    volume = _row(session, work)
    volume.size_gb = int(work.data["had_gb"])
    storage.rest(session, volume.id)


EXTEND = Kind(
    steps=(Step(name="extend", run=_extend),), complete=_extended, failed=_not_extended, cancelled=_extend_cancelled
)

# ---------------------------------------------------------------------------- revert


async def _revert(work: Work) -> None:
    snapshot_id = str(work.data["snapshot"])
    await storage.converge_volume(
        work,
        work.operation.lane,
        work.operation.object_id,
        note="revert",
        spec=lambda session, row: wire.volume(session, row, revert_to=snapshot_id),
    )


def _snapshot_free(session: Session, work: Work) -> None:
    snapshot = session.get_one(Snapshot, str(work.data["snapshot"]), populate_existing=True)
    if snapshot.status == "restoring":
        snapshot.status, snapshot.updated_at = "available", now(session)
        session.flush()


def _reverted(session: Session, work: Work) -> None:
    _snapshot_free(session, work)
    _done(session, work)


def _not_reverted(session: Session, work: Work, error: dict[str, Any]) -> None:
    _snapshot_free(session, work)
    storage.rest(session, work.operation.object_id, status=guards.ERROR, fault=_fault(work, error))


REVERT = Kind(steps=(Step(name="revert", run=_revert),), complete=_reverted, failed=_not_reverted, cancelled=_reverted)

# ---------------------------------------------------------------------------- retype


async def _drop_hidden(work: Work) -> None:
    """A backup's own snapshot does not come along: the next incremental backup begins anew."""
    if "move" not in work.data:
        return
    for snapshot in await work.read(lambda session: snapshots.of_volume(session, work.operation.object_id)):
        await storage.drop_snapshot(work, snapshot.id)
        await work.write(lambda session, gone=snapshot.id: _no_base(session, gone))  # type: ignore[misc]


def _no_base(session: Session, snapshot_id: str) -> None:
    session.execute(update(Backup).where(col(Backup.base_snapshot_id) == snapshot_id).values(base_snapshot_id=None))


async def _copy(work: Work) -> None:
    await _tell_copy(work, note="copy")


async def _uncopy(work: Work) -> None:
    if work.data.get("clearing"):
        return  # what it was copied from may be gone: the copy is the volume
    await _tell_copy(work, note="uncopy", want=Want.ABSENT)


async def _tell_copy(work: Work, *, note: str, want: Want = Want.PRESENT) -> None:
    if (move := work.data.get("move")) is None:
        return
    await storage.converge_volume(
        work,
        work.operation.lane,
        work.operation.object_id,
        note=note,
        spec=lambda session, row: wire.copied(
            session, row, backend_id=move["backend"], of=move["from_backend"], want=want
        ),
        deadline=storage.COPY,
    )


async def _switch(work: Work) -> None:
    """From here on it is the copy."""
    move = work.data.get("move")

    def change(session: Session) -> None:
        if move is not None:
            volume = _row(session, work)
            volume.backend_id, volume.host_id = move["backend"], move["host"]
            session.flush()

    await work.write(change)


async def _clear(work: Work) -> None:
    """The old one away: there is no way back once this has begun. Where it fails the old one is an orphan there, which
    is shown; the host's last word of the volume is what it is now."""
    if (move := work.data.get("move")) is None:
        return
    host_id, volume_id = work.operation.lane, work.operation.object_id
    work.note(clearing=True)
    await work.write(lambda session: None)
    try:
        await storage.converge_volume(
            work,
            host_id,
            volume_id,
            note="clear",
            spec=lambda session, row: wire.copied(
                session, row, backend_id=move["from_backend"], of=move["from_backend"], want=Want.ABSENT
            ),
        )
        await storage.converge_volume(work, host_id, volume_id, note="settle")
    except HostFailed as bad:
        if bad.transient:
            raise
        _log.warning("volume %s stays on the backend it was moved from: %s", volume_id, bad.title)
        work.note(left_behind=bad.title)


def _retyped(session: Session, work: Work) -> None:
    storage.rest(session, work.operation.object_id)
    qos.tell_guests(session, cloud.system_context(session), [work.operation.object_id])


def _not_retyped(session: Session, work: Work, error: dict[str, Any]) -> None:
    if work.data.get("clearing"):
        _retyped(session, work)
        return
    volume = _row(session, work)
    before, move = work.data["before"], work.data.get("move")
    volume.type_id, volume.multiattach = before["type"], before["multiattach"]
    if move is not None:
        volume.backend_id, volume.host_id = move["from_backend"], move["from_host"]
    storage.rest(session, volume.id, fault=_fault(work, error) if error else None)


RETYPE = Kind(
    steps=(
        Step(name="hidden_snapshots", run=_drop_hidden),
        Step(name="copy", run=_copy, undo=_uncopy, weight=5),
        Step(name="switch", run=_switch),
        Step(name="clear", run=_clear),
    ),
    complete=_retyped,
    failed=_not_retyped,
    cancelled=lambda session, work: _not_retyped(session, work, {}),
)
