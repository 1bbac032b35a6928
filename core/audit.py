"""Changing a row and telling the audit trail just what changed."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from core import events
from core.context import Context


def change(
    session: Session,
    ctx: Context,
    row: Any,
    *,
    kind: str,
    values: dict[str, Any],
    beside: dict[str, tuple[Any, Any]] | None = None,
) -> dict[str, Any]:
    """Write those of `values` that differ, and an event `<kind>.set` with before and after.

    `beside` is what the caller changed in other tables: name to (before, after). Answers what changed; without any
    change there is no event.
    """
    before = {field: getattr(row, field) for field, value in values.items() if getattr(row, field) != value}
    after = {field: values[field] for field in before}
    for field, value in after.items():
        setattr(row, field, value)
    session.flush()
    for field, (was, is_now) in (beside or {}).items():
        if was != is_now:
            before[field], after[field] = was, is_now
    if after:
        record(session, ctx, row, kind=kind, action="set", before=before, after=after)
    return after


def record(
    session: Session,
    ctx: Context,
    row: Any,
    *,
    kind: str,
    action: str,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """The event `<kind>.<action>` about a row, which goes by its name, or by its id when it has none."""
    events.record(
        session,
        ctx,
        f"{kind}.{action}",
        kind=kind,
        id=row.id,
        name=getattr(row, "name", "") or row.id,
        project_id=getattr(row, "project_id", None),
        before=before,
        after=after,
    )
