"""Acting on a finding: the one safe act it names, as a durable operation like any verb."""

from __future__ import annotations

from sqlmodel import Session, col

from core import events
from core.compute.instances.table import Instance
from core.context import Context
from core.errors import Conflict, NotFound
from core.hosts import hosts
from core.hosts.drift import Finding
from core.identity.policy import authorize
from core.operations import operations
from core.operations.operations import Operation
from core.sql import select


def find(session: Session, ctx: Context, id: str) -> Finding:
    """An open finding by its id, its object's id, or the beginning of either. Raises NotFound."""
    authorize(ctx, "finding:list")
    named = col(Finding.id).startswith(id, autoescape=True) | col(Finding.object_id).startswith(id, autoescape=True)
    rows = session.execute(select(Finding).where(named, col(Finding.resolved_at).is_(None)).limit(2)).scalars().all()
    if len(rows) != 1:
        raise NotFound(f"no single finding {id!r}", hint="skydeck finding list shows them.")
    return rows[0]


def reap(session: Session, ctx: Context, id: str) -> Operation:
    """Remove a guest, with its files, whose instance was deleted. Raises Conflict for any other finding: data of an
    instance that skydeck does not know to be deleted is never removed."""
    authorize(ctx, "finding:act")
    finding = find(session, ctx, id)
    instance = session.get(Instance, finding.object_id)
    if finding.kind != "guest_unknown" or instance is None or not instance.deleted_at:
        raise Conflict(
            f"finding {finding.id[:8]} is not a guest of a deleted instance", hint="Look at it on its host first."
        )
    operation = operations.enqueue(
        session,
        ctx,
        "guest.reap",
        object_kind="guest",
        object_id=finding.object_id,
        object_name=finding.object_name,
        project_id=instance.project_id,
        lane=finding.host_id,
    )
    events.record(session, ctx, "guest.reap", kind="guest", id=finding.object_id, name=finding.object_name)
    return operation


def repair_networking(session: Session, ctx: Context, id_or_name: str) -> Operation:
    """Have a host look at all of its networking again, and mend what is not as it should be."""
    authorize(ctx, "network:repair")
    host = hosts.find(session, ctx, id_or_name)
    operation = operations.enqueue(
        session,
        ctx,
        "host.repair_networking",
        object_kind="host",
        object_id=host.id,
        object_name=host.name,
        project_id=ctx.project_id,
        lane=host.id,
    )
    events.record(session, ctx, "host.repair_networking", kind="host", id=host.id, name=host.name)
    return operation
