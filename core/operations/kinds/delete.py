"""instance.delete: the guest and its files gone from the host, its ports unplugged, its claim given back, its
volumes free again or deleted with it."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlmodel import Session

from core import audit, cloud
from core.compute.instances import states
from core.compute.instances.table import Instance
from core.errors import Refused
from core.hosts import hosts
from core.network import ports
from core.operations.kinds import parts
from core.operations.work import Kind, Step, Work
from core.store import now
from core.volumes import attachments, volumes
from core.volumes.tables import Volume


async def _destroy(work: Work) -> None:
    host_id = await work.read(lambda session: parts.instance_of(session, work).host_id)
    if host_id is not None:
        await parts.converge_instance(work, host_id, note="destroy", want="absent")


def _complete(session: Session, work: Work) -> None:
    instance = parts.instance_of(session, work)
    hosts.release(session, instance_id=instance.id)
    ports.release(session, instance.id)
    _release_volumes(session, work, instance)
    parts.settle(session, instance, vm_state=states.DELETED, power_state=0)
    instance.task_state, instance.deleted_at = None, now(session)
    session.flush()


def _release_volumes(session: Session, work: Work, instance: Instance) -> None:
    """Free again, all of them; those that shall go with their server are deleted, each by an operation of its own."""
    ctx = dataclasses.replace(
        cloud.system_context(session), project_id=instance.project_id, request_id=work.operation.request_id
    )
    for attachment in attachments.of_instance(session, instance.id):
        attachments.release(session, attachment)
        if not attachment.delete_on_termination:
            continue
        try:
            with session.begin_nested():
                volumes.delete(session, ctx, attachment.volume_id)
        except Refused as kept:
            # As in nova the server is deleted all the same: a volume with snapshots, say, stays and is available.
            volume = session.get_one(Volume, attachment.volume_id, populate_existing=True)
            after = {"error": kept.title, "instance_id": instance.id}
            audit.record(session, ctx, volume, kind="volume", action="delete_refused", after=after)


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
