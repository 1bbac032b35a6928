"""instance.attach_volume, instance.detach_volume: a volume given to a guest, or taken from it.

A volume is free again only when no guest has it: what is pulled out is released after the host has confirmed it, and
what the guest does not let go of is in-use as before. A guest that is on no host has what its next start gives it.
"""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from core.operations.kinds import parts
from core.operations.work import Kind, Step, Work
from core.store import now
from core.volumes import attachments
from core.volumes.tables import VolumeAttachment


def _attachment(session: Session, work: Work) -> VolumeAttachment:
    return session.get_one(VolumeAttachment, str(work.data["attachment"]), populate_existing=True)


async def _where(work: Work) -> str | None:
    """The instance's host; None where nobody needs to be told: it is on none, or on its way out."""

    def read(session: Session) -> str | None:
        instance = parts.instance_of(session, work)
        return None if instance.want == "absent" else instance.host_id

    return await work.read(read)


async def _give(work: Work) -> None:
    await work.write(lambda session: attachments.begin(session, _attachment(session, work)))
    if (host_id := await _where(work)) is not None:
        await parts.converge_instance(work, host_id, note="give", want="present")


async def _give_back(work: Work) -> None:
    if (host_id := await _where(work)) is not None:
        await parts.converge_instance(work, host_id, note="give_back", want="present")


async def _take(work: Work) -> None:
    if (host_id := await _where(work)) is not None:
        await parts.converge_instance(work, host_id, note="take", want="present", without=str(work.data["volume"]))


def _changed(session: Session, work: Work) -> None:
    instance = parts.instance_of(session, work)
    instance.updated_at = now(session)
    session.flush()


def _attached(session: Session, work: Work) -> None:
    attachments.finish_attach(session, _attachment(session, work))
    _changed(session, work)


def _detached(session: Session, work: Work) -> None:
    instance = parts.instance_of(session, work)
    if instance.want == "absent" and instance.host_id is not None:
        return  # its host was not told: the guest has it until its deletion has ended, which releases it
    attachments.release(session, _attachment(session, work))
    _changed(session, work)


def _kept(session: Session, work: Work) -> None:
    attachments.roll_detaching(session, _attachment(session, work))
    _changed(session, work)


def _not_attached(session: Session, work: Work, error: dict[str, Any]) -> None:
    """After the undo: the guest does not have it."""
    _detached(session, work)


def _not_detached(session: Session, work: Work, error: dict[str, Any]) -> None:
    """The operation tells why."""
    _kept(session, work)


ATTACH = Kind(
    steps=(Step(name="give", run=_give, undo=_take),),
    complete=_attached,
    failed=_not_attached,
    cancelled=_detached,
)

DETACH = Kind(
    steps=(Step(name="take", run=_take, undo=_give_back),),
    complete=_detached,
    failed=_not_detached,
    cancelled=_kept,
)
