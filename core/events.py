"""The audit trail, and with it the change feed: one row for every mutation, in the mutation's own transaction.

The id grows with every row and is never reused, so a screen that remembers the last id it saw has missed nothing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Integer
from sqlmodel import Field, Session, SQLModel

from core.context import Context
from core.store import now

_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in a plain INTEGER key


class Event(SQLModel, table=True):
    """Who did what to what, from where, when, and how it was before and after."""

    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, sa_column=Column(_Id, primary_key=True, autoincrement=True))
    at: int = Field(sa_type=BigInteger, index=True)
    """Microseconds since the epoch."""
    action: str = Field(index=True)
    """`instance.create`, `quota.set`, …"""
    object_kind: str
    object_id: str = Field(index=True)
    object_name: str
    project_id: str | None = Field(default=None, index=True)
    user_id: str | None = None
    user_name: str
    request_id: str
    source: str
    """cli, app or serve."""
    before: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    after: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    """Only the fields that changed; never a secret."""


def record(
    session: Session,
    ctx: Context,
    action: str,
    *,
    kind: str,
    id: str,
    name: str,
    project_id: str | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Write the audit event of the mutation that this transaction makes."""
    session.add(
        Event(
            at=now(session),
            action=action,
            object_kind=kind,
            object_id=id,
            object_name=name,
            project_id=project_id,
            user_id=ctx.user_id,
            user_name=ctx.user_name,
            request_id=ctx.request_id,
            source=ctx.source,
            before=before,
            after=after,
        )
    )
