"""instance.update: the host learns what the instance is now, and what it is told about itself. Its power stays."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from core.operations.kinds import parts
from core.operations.work import Kind, Step, Work


async def _update(work: Work) -> None:
    def where(session: Session) -> str | None:
        instance = parts.instance_of(session, work)
        # Its deletion takes everything away anyway, and an update after it would bring some of it back.
        return None if instance.want == "absent" else instance.host_id

    host_id = await work.read(where)
    if host_id is not None:
        await parts.converge_instance(work, host_id, note="update", want="present")


def _nothing(session: Session, work: Work) -> None:
    """The instance is what it was: it shows no task, and has no fault."""


def _kept_on_operation(session: Session, work: Work, error: dict[str, Any]) -> None:
    """The operation tells it. The next update, or whatever else the host is told of the instance, makes it good."""


KIND = Kind(steps=(Step(name="update", run=_update),), complete=_nothing, failed=_kept_on_operation, cancelled=_nothing)
