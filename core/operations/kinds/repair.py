"""The safe acts of findings: a guest whose instance was deleted is removed, the networking of a host is made anew."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from core.network import fabric
from core.operations.kinds import parts
from core.operations.work import Kind, Step, Work


def _nothing(session: Session, work: Work) -> None:
    """The object has no state of its own in the database."""


def _kept_on_operation(session: Session, work: Work, error: dict[str, Any]) -> None:
    """The operation tells it; there is nothing else to tell it on."""


async def _reap(work: Work) -> None:
    await parts.converge_instance(work, work.operation.lane, note="reap", want="absent")


async def _networking(work: Work) -> None:
    def again(session: Session) -> None:
        if not work.data.get("asked"):
            fabric.renew(session, work.operation.lane)
            work.note(asked=True)

    await work.write(again)
    await work.networking.publish(work.operation.lane)


REAP = Kind(steps=(Step(name="reap", run=_reap),), complete=_nothing, failed=_kept_on_operation, cancelled=_nothing)

NETWORKING = Kind(
    steps=(Step(name="networking", run=_networking),), complete=_nothing, failed=_kept_on_operation, cancelled=_nothing
)
