"""Host aggregates: named groups of hosts with metadata the scheduler matches flavors and projects against.

An availability zone is a plain name on the host; an aggregate may carry extra specs and `filter_tenant_id`.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column
from sqlmodel import Field, Session, SQLModel, col

from core import events, names
from core.context import Context
from core.errors import Conflict, NotFound
from core.hosts import hosts
from core.hosts.hosts import Host
from core.identity.policy import authorize
from core.sql import select
from core.store import clock_of


class Aggregate(SQLModel, table=True):
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    properties: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON))
    """nova calls these the aggregate's metadata."""


class AggregateHost(SQLModel, table=True):
    aggregate_id: str = Field(primary_key=True, foreign_key="aggregate.id", ondelete="CASCADE")
    host_id: str = Field(primary_key=True, foreign_key="host.id", ondelete="CASCADE")


def find(session: Session, ctx: Context, id_or_name: str) -> Aggregate:
    """Raises NotFound."""
    authorize(ctx, "aggregate:list")
    wanted = (col(Aggregate.id) == id_or_name) | (col(Aggregate.name) == id_or_name)
    row = session.execute(select(Aggregate).where(wanted)).scalars().first()
    if row is None:
        raise NotFound(f"no aggregate {id_or_name!r}", hint="skydeck aggregate list shows them.")
    return row


def create(session: Session, ctx: Context, *, name: str, properties: dict[str, str] | None = None) -> Aggregate:
    """Raises Conflict for a name taken."""
    authorize(ctx, "aggregate:manage")
    names.check(name, "aggregate")
    if session.execute(select(Aggregate.id).where(col(Aggregate.name) == name)).first():
        raise Conflict(f"aggregate {name!r} exists", hint="Choose another name.")
    aggregate = Aggregate(id=clock_of(session).uuid(), name=name, properties=properties or {})
    session.add(aggregate)
    session.flush()
    events.record(session, ctx, "aggregate.create", kind="aggregate", id=aggregate.id, name=name)
    return aggregate


def add_host(session: Session, ctx: Context, id_or_name: str, host: str) -> Aggregate:
    """Adding twice equals once."""
    authorize(ctx, "aggregate:manage")
    aggregate, member = find(session, ctx, id_or_name), hosts.find(session, ctx, host)
    session.merge(AggregateHost(aggregate_id=aggregate.id, host_id=member.id))
    events.record(
        session,
        ctx,
        "aggregate.add_host",
        kind="aggregate",
        id=aggregate.id,
        name=aggregate.name,
        after={"host": member.name},
    )
    return aggregate


def remove_host(session: Session, ctx: Context, id_or_name: str, host: str) -> Aggregate:
    """Raises NotFound when it is no member."""
    authorize(ctx, "aggregate:manage")
    aggregate, member = find(session, ctx, id_or_name), hosts.find(session, ctx, host)
    row = session.get(AggregateHost, (aggregate.id, member.id))
    if row is None:
        raise NotFound(f"host {member.name} is not in aggregate {aggregate.name}")
    session.delete(row)
    events.record(
        session,
        ctx,
        "aggregate.remove_host",
        kind="aggregate",
        id=aggregate.id,
        name=aggregate.name,
        before={"host": member.name},
    )
    return aggregate


def delete(session: Session, ctx: Context, id_or_name: str) -> None:
    authorize(ctx, "aggregate:manage")
    aggregate = find(session, ctx, id_or_name)
    session.delete(aggregate)
    events.record(session, ctx, "aggregate.delete", kind="aggregate", id=aggregate.id, name=aggregate.name)


def members(session: Session, aggregate_id: str) -> list[str]:
    """The names of an aggregate's hosts, in order."""
    query = (
        select(Host.name)
        .join(AggregateHost, col(AggregateHost.host_id) == col(Host.id))
        .where(col(AggregateHost.aggregate_id) == aggregate_id)
        .order_by(col(Host.name))
    )
    return list(session.execute(query).scalars())


def properties_by_host(session: Session) -> dict[str, list[dict[str, str]]]:
    """Host id to the metadata of every aggregate it is in: one query for the whole scheduler run."""
    found: dict[str, list[dict[str, str]]] = {}
    rows = session.execute(
        select(AggregateHost.host_id, Aggregate.properties).where(col(Aggregate.id) == col(AggregateHost.aggregate_id))
    )
    for host_id, properties in rows:
        found.setdefault(host_id, []).append(properties or {})
    return found
