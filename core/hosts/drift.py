"""Drift: what a host has against what the database says it has. Each difference is a finding, with its evidence and
one safe act; nothing is repaired behind a person's back, except the database's own idea of a guest's power state."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index
from sqlmodel import Field, SQLModel


class Finding(SQLModel, table=True):
    """A difference that lasts. Resolved when a later look no longer sees it."""

    __table_args__ = (Index("finding_open", "resolved_at", "host_id"),)

    id: str = Field(primary_key=True)
    kind: str
    """A key of FINDINGS."""
    host_id: str = Field(index=True)
    object_id: str = ""
    object_name: str = ""
    title: str
    """What is different, in one line."""
    act: str = ""
    """The one safe act, as a command."""
    evidence: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON))
    first_seen: int = Field(sa_type=BigInteger)
    last_seen: int = Field(sa_type=BigInteger)
    resolved_at: int | None = Field(default=None, sa_type=BigInteger)
