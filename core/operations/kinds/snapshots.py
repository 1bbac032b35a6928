"""snapshot.create, snapshot.delete: a snapshot taken, or deleted, by the host that acts for its volume."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from core.operations.kinds import storage
from core.operations.work import Kind, Step, Work
from core.store import now
from core.volumes import guards
from core.volumes.tables import Snapshot


async def _take(work: Work) -> None:
    await storage.make_snapshot(work, work.operation.object_id, quiesce=bool(work.operation.args.get("quiesce")))


async def _untake(work: Work) -> None:
    """The row stays, and tells why there is none."""
    await storage.untake_snapshot(work, work.operation.object_id)


async def _drop(work: Work) -> None:
    await storage.drop_snapshot(work, work.operation.object_id)


def _over(session: Session, work: Work) -> None:
    """What it is now was written with what the host said."""


def _ended(status: str) -> Any:
    def failed(session: Session, work: Work, error: dict[str, Any]) -> None:
        snapshot = session.get_one(Snapshot, work.operation.object_id, populate_existing=True)
        if not snapshot.deleted_at and (snapshot.status != "deleting" or status == guards.ERROR_DELETING):
            snapshot.status, snapshot.updated_at = status, now(session)
            snapshot.fault = {**error, "operation": work.operation.id}
            session.flush()

    return failed


def _cancelled(status: str) -> Any:
    failed = _ended(status)
    error = {"type": "Cancelled", "title": "the operation was cancelled", "hint": "Delete the snapshot."}
    return lambda session, work: failed(session, work, error)


CREATE = Kind(
    steps=(Step(name="take", run=_take, undo=_untake),),
    complete=_over,
    failed=_ended(guards.ERROR),
    cancelled=_cancelled(guards.ERROR),
)

DELETE = Kind(
    steps=(Step(name="drop", run=_drop),),
    complete=_over,
    failed=_ended(guards.ERROR_DELETING),
    cancelled=_cancelled(guards.ERROR_DELETING),
)
