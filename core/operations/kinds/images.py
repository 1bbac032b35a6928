"""image.prefetch, host.prune_images: a host's image cache filled ahead of time, and emptied of what nobody needs."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from core.images import caching
from core.operations.kinds import parts
from core.operations.work import Kind, Step, Work
from hostd.spec import Prune, Pruned


def _nothing(session: Session, work: Work) -> None:
    """What a host holds is in no other row than what was seen there."""


def _kept_on_operation(session: Session, work: Work, error: dict[str, Any]) -> None:
    """The operation tells it; there is nothing else to tell it on."""


async def _carry(work: Work) -> None:
    args = work.operation.args
    host, size = work.hosts.get(str(args["host"])), int(args["size"])
    await host.carry(str(args["digest"]), size, lambda sent: work.report(100 * sent // (size or 1)))


def _arrived(session: Session, work: Work) -> None:
    args = work.operation.args
    caching.arrived(session, str(args["host"]), str(args["digest"]), int(args["size"]))


async def _prune(work: Work) -> None:
    host = work.hosts.get(work.operation.lane)
    keep = await work.read(lambda session: caching.pinned(session, host.id))
    pruned: Pruned = await host.call("prune", Prune(keep_bytes=0, keep=keep), deadline=parts.QUICK)
    for digest in pruned.removed:
        host.forget_image(digest)
    work.note(removed=list(pruned.removed), bytes_freed=pruned.bytes_freed)
    seen = await host.observe()
    await work.write(lambda session: caching.observed(session, host.id, seen.images))


PREFETCH = Kind(
    steps=(Step(name="carry", run=_carry, interruptible=True),),
    complete=_arrived,
    failed=_kept_on_operation,
    cancelled=_nothing,
)

PRUNE = Kind(steps=(Step(name="prune", run=_prune),), complete=_nothing, failed=_kept_on_operation, cancelled=_nothing)
