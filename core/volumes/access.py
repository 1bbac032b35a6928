"""Whose a volume is, and what is told of it."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col

from core.context import Context
from core.errors import Invalid, NotFound
from core.identity.policy import authorize
from core.operations import operations
from core.operations.operations import Operation
from core.sql import select
from core.volumes.tables import Volume


def find(session: Session, ctx: Context, id_or_name: str, *, rule: str = "volume:list") -> Volume:
    """By id, or by a name that is unique in the project. Raises NotFound (also for others'), Invalid."""
    authorize(ctx, rule)
    wanted = (col(Volume.id) == id_or_name) | (col(Volume.name) == id_or_name)
    query = select(Volume).where(wanted, col(Volume.deleted_at) == 0).execution_options(populate_existing=True)
    if not ctx.is_admin:
        query = query.where(col(Volume.project_id) == ctx.project_id)
    rows = list(session.execute(query.limit(20)).scalars()) if id_or_name else []
    own = [row for row in rows if row.project_id == ctx.project_id or row.id == id_or_name]
    if not own and not (rows and ctx.all_projects):
        raise NotFound(f"no volume {id_or_name!r}", hint="skydeck volume list shows them.")
    found = own or rows
    if len(found) > 1:
        raise Invalid(f"{len(found)} volumes are named {id_or_name!r}", hint="Use the id.")
    return found[0]


def enqueue(
    session: Session, ctx: Context, volume: Volume, verb: str, *, lane: str, args: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
) -> Operation:  # fmt: skip
    """The operation `volume.<verb>`, on the host that acts for it."""
    return operations.enqueue(
        session,
        ctx,
        f"volume.{verb}",
        object_kind="volume",
        object_id=volume.id,
        object_name=volume.name,
        project_id=volume.project_id,
        lane=lane,
        args=args,
        data=data,
    )
