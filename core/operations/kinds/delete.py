"""instance.delete: the guest and its files gone from the host, its ports unplugged, its claim given back."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from core.compute.instances import states
from core.hosts import hosts
from core.network import ports
from core.operations.kinds import parts
from core.operations.work import Kind, Step, Work
from core.store import now


async def _destroy(work: Work) -> None:
    host_id = await work.read(lambda session: parts.instance_of(session, work).host_id)
    if host_id is not None:
        await parts.converge_instance(work, host_id, note="destroy", want="absent")


def _complete(session: Session, work: Work) -> None:
    instance = parts.instance_of(session, work)
    hosts.release(session, instance_id=instance.id)
    ports.release(session, instance.id)
    parts.settle(session, instance, vm_state=states.DELETED, power_state=0)
    instance.task_state, instance.deleted_at = None, now(session)
    session.flush()


def _failed(session: Session, work: Work, error: dict[str, Any]) -> None:
    """What could not be deleted is still there, and says why."""
    instance = parts.instance_of(session, work)
    instance.want = "stopped"
    parts.settle(session, instance, vm_state=states.ERROR)
    instance.fault = {**error, "operation": work.operation.id}
    session.flush()


def _cancelled(session: Session, work: Work) -> None:
    _failed(
        session,
        work,
        {"type": "Cancelled", "title": "the delete was cancelled half way", "hint": "Delete it again."},
    )


KIND = Kind(
    steps=(
        Step(name="destroy", run=_destroy, task=states.DELETING, weight=3),
        Step(name="unplug", run=parts.unplug, task=states.DELETING),
    ),
    complete=_complete,
    failed=_failed,
    cancelled=_cancelled,
)
