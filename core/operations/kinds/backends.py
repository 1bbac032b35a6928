"""backend.look: a host looks at its backends now, because one of them is new or changed."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from core.hosts import storage
from core.operations.work import Kind, Step, Work


async def _look(work: Work) -> None:
    await storage.look(work.runner, work.hosts.get(work.operation.lane))


def _nothing(session: Session, work: Work) -> None:
    """What the host sees is kept by the look."""


def _kept_on_operation(session: Session, work: Work, error: dict[str, Any]) -> None:
    """The operation tells it; the next periodic look tries again."""


LOOK = Kind(steps=(Step(name="look", run=_look),), complete=_nothing, failed=_kept_on_operation, cancelled=_nothing)
