"""The safe acts of findings: a guest whose instance was deleted is removed, a network is made anew on a host."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from core.network.networks import NetworkHost
from core.operations.kinds import parts
from core.operations.work import Kind, Step, Work


def _nothing(session: Session, work: Work) -> None:
    """The object has no state of its own in the database."""


def _kept_on_operation(session: Session, work: Work, error: dict[str, Any]) -> None:
    """The operation tells it; there is nothing else to tell it on."""


async def _reap(work: Work) -> None:
    await parts.converge_instance(work, work.operation.lane, note="reap", want="absent")


async def _network(work: Work) -> None:
    def again(session: Session) -> None:
        row = session.get(NetworkHost, (work.operation.object_id, work.operation.lane), populate_existing=True)
        if row is not None and not work.data.get("asked"):
            row.digest = ""  # the same spec, but as a new generation: the host looks again
            work.note(asked=True)
        session.flush()

    await work.write(again)
    await parts.converge_network(work, work.operation.lane, work.operation.object_id)


REAP = Kind(steps=(Step(name="reap", run=_reap),), complete=_nothing, failed=_kept_on_operation, cancelled=_nothing)

NETWORK = Kind(
    steps=(Step(name="network", run=_network),), complete=_nothing, failed=_kept_on_operation, cancelled=_nothing
)
