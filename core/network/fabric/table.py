"""How far each host has been told about its networking, and what waits for that."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column
from sqlmodel import Field, SQLModel


class HostNetworking(SQLModel, table=True):
    __tablename__ = "host_networking"

    host_id: str = Field(primary_key=True)
    generation: int = 0
    """Grows in the transaction of every verb that changes the host's document: the document of a generation is what
    the database says when it is read, and no newer change is in it."""
    applied: int = 0
    """The newest the host has confirmed."""
    digest: str = ""
    """Of the document confirmed."""
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    """Why the host does not take the newest: {type, title, hint}; None when nothing failed."""
    changed_at: int = Field(default=0, sa_type=BigInteger)
    """When the generation last grew."""


class NetworkingPending(SQLModel, table=True):
    """An object (port, floating IP, router) that shall be so on a host from a generation on. Gone when confirmed."""

    __tablename__ = "networking_pending"

    object_id: str = Field(primary_key=True)
    host_id: str = Field(primary_key=True, index=True)
    generation: int
