"""volume.create, delete, extend, revert: a volume made, changed and deleted by the host that acts for it.

What a failure leaves is as cinder has it: a volume that could not be made is in error, one that could not be grown in
error_extending, one that could not be deleted in error_deleting; one that a guest has is in-use as before. `fault` says
why, and names the operation.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlmodel import Session

from core import cloud
from core.errors import HostFailed, Refused
from core.operations import operations
from core.operations.kinds import parts, storage
from core.operations.work import Kind, Step, Work
from core.store import now
from core.volumes import attachments, guards, placement, qos, snapshots, wire
from core.volumes.still import BEING_MADE
from core.volumes.tables import Snapshot, Volume, VolumeType
from core.volumes.volumes.create import DEFAULT_ZONE
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
    volume_id = work.operation.object_id
    source = await work.read(lambda session: wire.source_volume(session, session.get_one(Volume, volume_id)))
    if source is None or source.host_id is None:
        besides = None if source is None else source.backend_id
        await storage.acting(work, volume_id, told=f"make {volume_id}", besides=besides)
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


def _elsewhere(session: Session, work: Work, error: dict[str, Any]) -> bool:
    """Another place, at most `schedule_attempts` in all, as cinder's scheduler does. A copy stays with what it is made
    from: it is undone, and that goes on."""
    volume = _row(session, work)
    here = placement.key(volume.backend_id, volume.host_id)
    tried = [*work.data.get("tried", []), here]
    useless = error.get("code") == ErrorCode.DIGEST_MISMATCH or "through" in work.data
    if useless or volume.status not in BEING_MADE or len(tried) >= work.config.schedule_attempts:
        return False
    type = session.get(VolumeType, volume.type_id) if volume.type_id else None
    source = wire.source_volume(session, volume)
    request = placement.Request(
        size_gb=volume.size_gb,
        extra_specs={} if type is None else type.extra_specs,
        zone=work.data.get("zone"),
        host=None if source is None else source.host_id,
        near=None if source is None else frozenset(placement.reach(session, source.backend_id)),
        avoid=frozenset(tried),
    )
    try:
        backend, holder, funnel = placement.place(session, work.config, request)
        lane = holder or placement.choose_actor(session, {backend.id} | ({source.backend_id} if source else set()))
    except Refused as none:
        work.note(funnel=getattr(none, "funnel", work.data.get("funnel")))
        return False
    volume.backend_id, volume.host_id = backend.id, holder
    volume.availability_zone = work.data.get("zone") or placement.zone_of(session, backend, holder) or DEFAULT_ZONE
    session.flush()
    work.operation.data = {"zone": work.data.get("zone"), "funnel": funnel.to_json(), "tried": tried}
    operations.write(session, work.operation, lane=lane)
    return True


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
    elsewhere=_elsewhere,
    show=_downloading,
)

# ---------------------------------------------------------------------------- delete


async def _drop_snapshots(work: Work) -> None:
    for snapshot in await work.read(lambda session: snapshots.of_volume(session, work.operation.object_id)):
        await storage.drop_snapshot(work, snapshot.id)


async def _delete(work: Work) -> None:
    volume_id = work.operation.object_id
    host_id = await storage.acting(work, volume_id, told="delete")
    await storage.converge_volume(work, host_id, volume_id, note="delete", spec=_absent, deadline=storage.SLOW)


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
    volume_id = work.operation.object_id
    host_id = await storage.acting(work, volume_id, told="extend")
    await storage.converge_volume(work, host_id, volume_id, note="extend")


def _extended(session: Session, work: Work) -> None:
    volume = storage.rest(session, work.operation.object_id)
    if qos.grows(session, volume):
        qos.tell_guests(session, cloud.system_context(session), [volume.id])


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
    snapshot_id, volume_id = str(work.data["snapshot"]), work.operation.object_id
    host_id = await storage.acting(work, volume_id, told="revert")
    await storage.converge_volume(
        work,
        host_id,
        volume_id,
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
