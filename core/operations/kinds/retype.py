"""volume.retype: another type for a volume, and where its backend will not do, a copy of it on one that does.

The copy has the volume's own id. Until it is whole the volume is where it was; from the step `clear` on it is the copy,
whatever becomes of the old one. A retype that fails leaves the volume as it was before.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col

from core import cloud
from core.errors import HostFailed
from core.operations.kinds import storage
from core.operations.work import Kind, Step, Work
from core.volumes import qos, snapshots, wire
from core.volumes.tables import Backup, Volume
from hostd.spec import Want

_log = logging.getLogger(__name__)


def _row(session: Session, work: Work) -> Volume:
    return session.get_one(Volume, work.operation.object_id, populate_existing=True)


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
    storage.rest(session, volume.id, fault={**error, "operation": work.operation.id} if error else None)


KIND = Kind(
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
