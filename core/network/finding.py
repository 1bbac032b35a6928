"""Finding one row by what a person typed: an id of any they may see, or a name within their own reach."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, or_
from sqlmodel import Session, col

from core.context import Context
from core.errors import Invalid, NotFound
from core.sql import select


def find(
    session: Session, ctx: Context, table: Any, text: str, *, noun: str, named: Any = None, seen: Any = None
) -> Any:
    """The row of `table` with this id, or this name; the caller's own project's before others'.

    `named` says whose names count, its own project's unless given: a name means no other's, also to an admin.
    `seen` says whose ids do: an admin's, all. Raises NotFound, or Invalid for a name that several have.
    """
    mine = col(table.project_id) == ctx.project_id
    named = mine if named is None else named
    seen = (True if ctx.is_admin else mine) if seen is None else seen
    query = select(table).where(or_(and_(col(table.id) == text, seen), and_(col(table.name) == text, named)))
    rows = session.execute(query).scalars().all() if text else []  # several may have no name
    found = [row for row in rows if row.id == text] or [r for r in rows if r.project_id == ctx.project_id] or list(rows)
    if not found:
        raise NotFound(f"no {noun} {text!r}", hint=f"skydeck {noun} list shows them.")
    if len(found) > 1:
        raise Invalid(f"{len(found)} {noun}s are named {text!r}", hint="Use the id.")
    return found[0]
