"""Operations: the message queue of a cloud, made durable as rows.

A verb enqueues one in the transaction that records its intent, so an accepted request is never lost. A worker claims
it with one UPDATE that bumps `epoch`; every later write of that operation names owner and epoch, so a worker whose
lease ran out can change nothing. Leases give progress, epochs give safety.

    ready ──claim──▶ running ──▶ succeeded
      ▲                │  ├────▶ failed       undone, and shown on the object
      │                │  ├────▶ cancelled    undone, because somebody asked
      └──retry, later──┘  └────▶ blocked      needs a person: the reason and the next act are shown

One operation at a time runs per object, in the order they were enqueued; the database holds that, not the workers.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, UniqueConstraint, exists, func, text, update
from sqlalchemy.orm import aliased
from sqlmodel import Field, Session, SQLModel, col

from core import events
from core.context import Context
from core.errors import Conflict, NotFound, Superseded
from core.identity.policy import authorize
from core.sql import select
from core.store import clock_of, now

LEASE = 30_000_000
"""Microseconds a claim holds without a heartbeat."""

HEARTBEAT = 10_000_000
"""Microseconds between renewals."""

MAX_ATTEMPTS = 8
"""Tries of one step before the operation is blocked."""


class State(StrEnum):
    READY = "ready"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    BLOCKED = "blocked"


OPEN = (State.READY, State.RUNNING, State.BLOCKED)
"""Not yet ended: later operations on the same object wait for these."""

_Seq = BigInteger().with_variant(Integer, "sqlite")


class Operation(SQLModel, table=True):
    """One accepted request, until it has ended and after."""

    __table_args__ = (
        # One running operation per object: two workers cannot both believe they have it.
        Index(
            "one_running_per_object",
            "object_id",
            unique=True,
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
        Index("operation_open", "state", "not_before"),
        UniqueConstraint("user_id", "idempotency_key"),
        {"sqlite_autoincrement": True},
    )

    seq: int | None = Field(default=None, sa_column=Column(_Seq, primary_key=True, autoincrement=True))
    """Order of acceptance."""
    id: str = Field(unique=True)
    """UUID, as shown to people."""
    kind: str = Field(index=True)
    """A key of core.operations.kinds.KINDS. Stored: append-only."""
    object_kind: str
    object_id: str = Field(index=True)
    object_name: str
    project_id: str = Field(index=True)
    user_id: str
    user_name: str
    request_id: str
    source: str
    state: str = State.READY
    step: str = ""
    """The step that runs, or ran last."""
    progress: int = 0
    """Percent of the whole operation."""
    attempt: int = 0
    """Tries of the current step."""
    owner: str | None = None
    """The engine that runs it."""
    epoch: int = 0
    lease_until: int = Field(default=0, sa_type=BigInteger)
    not_before: int = Field(default=0, sa_type=BigInteger)
    """Retry backoff: no claim earlier than this."""
    lane: str = ""
    """The host whose lane it runs in; empty for work on no host."""
    args: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON))
    """What was asked; never changes."""
    data: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON))
    """What the steps noted: done steps, generations given out, hosts tried, the funnel."""
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    """{type, title, hint}: why it failed, is blocked, or what it waits for."""
    cancel: bool = False
    """Somebody asked to stop: honoured between steps."""
    idempotency_key: str | None = None
    body_digest: str | None = None
    created_at: int = Field(sa_type=BigInteger, index=True)
    started_at: int | None = Field(default=None, sa_type=BigInteger)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)


def enqueue(
    session: Session,
    ctx: Context,
    kind: str,
    *,
    object_kind: str,
    object_id: str,
    object_name: str,
    project_id: str,
    lane: str = "",
    args: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Operation:
    """Accept work: the row is the promise. Part of the verb's transaction; the engine wakes after the commit."""
    operation = Operation(
        id=clock_of(session).uuid(),
        kind=kind,
        object_kind=object_kind,
        object_id=object_id,
        object_name=object_name,
        project_id=project_id,
        user_id=ctx.user_id,
        user_name=ctx.user_name,
        request_id=ctx.request_id,
        source=ctx.source,
        lane=lane,
        args=args or {},
        data=data or {},
        idempotency_key=idempotency_key,
        body_digest=body_digest(args or {}) if idempotency_key else None,
        created_at=now(session),
    )
    session.add(operation)
    session.flush()
    session.info["enqueued"] = True
    return operation


def body_digest(body: dict[str, Any]) -> str:
    """What an idempotency key is bound to."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()


def repeated(session: Session, ctx: Context, key: str | None, body: dict[str, Any]) -> Operation | None:
    """The operation an idempotency key already stands for. Raises Conflict when the body differs."""
    if key is None:
        return None
    row = session.execute(
        select(Operation).where(col(Operation.user_id) == ctx.user_id, col(Operation.idempotency_key) == key)
    ).scalar_one_or_none()
    if row is not None and row.body_digest != body_digest(body):
        raise Conflict("this idempotency key was used for another request", hint="Use a new key.")
    return row


# ---------------------------------------------------------------------------- the engine's side


def claim(session: Session, *, owner: str, lanes_full: frozenset[str] = frozenset()) -> Operation | None:
    """Take the oldest operation that may run now, or None.

    May run: ready and due, or running with a lease that ran out; no older open operation on the same object; its lane
    is not full. Bumps the epoch.
    """
    at = now(session)
    older = aliased(Operation)
    waits = exists().where(
        col(older.object_id) == col(Operation.object_id),
        col(older.seq) < col(Operation.seq),
        col(older.state).in_(OPEN),
    )
    due = ((col(Operation.state) == State.READY) & (col(Operation.not_before) <= at)) | (
        (col(Operation.state) == State.RUNNING) & (col(Operation.lease_until) <= at)
    )
    candidate = select(Operation.seq).where(due, ~waits).order_by(col(Operation.seq)).limit(1)
    if lanes_full:
        candidate = candidate.where(col(Operation.lane).not_in(lanes_full))
    seq = session.execute(candidate).scalar_one_or_none()
    if seq is None:
        return None
    return session.execute(
        update(Operation)
        .where(col(Operation.seq) == seq)
        .values(
            state=State.RUNNING,
            owner=owner,
            epoch=col(Operation.epoch) + 1,
            lease_until=at + LEASE,
            started_at=func.coalesce(Operation.started_at, at),
        )
        .returning(Operation)
        .execution_options(populate_existing=True)
    ).scalar_one()


def write(session: Session, operation: Operation, **values: Any) -> None:
    """Change a running operation, on condition that it is still ours. Raises Superseded."""
    written = session.execute(
        update(Operation)
        .where(
            col(Operation.seq) == operation.seq,
            col(Operation.owner) == operation.owner,
            col(Operation.epoch) == operation.epoch,
            col(Operation.state) == State.RUNNING,
        )
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    if written.rowcount != 1:  # type: ignore[attr-defined]
        raise Superseded(f"operation {operation.id} belongs to another engine now")


def renew(session: Session, operation: Operation) -> bool:
    """Heartbeat. Answers whether somebody asked to cancel. Raises Superseded."""
    write(session, operation, lease_until=now(session) + LEASE)
    return bool(session.execute(select(Operation.cancel).where(col(Operation.seq) == operation.seq)).scalar_one())


def finish(session: Session, operation: Operation, state: State, *, error: dict[str, Any] | None = None) -> None:
    """End it. Raises Superseded."""
    values: dict[str, Any] = {"state": state, "error": error, "ended_at": now(session), "owner": None}
    if state is State.SUCCEEDED:
        values["progress"] = 100
    write(session, operation, **values)
    session.info["enqueued"] = True  # the next one on the same object may go


def put_back(session: Session, operation: Operation, *, delay: int, error: dict[str, Any] | None) -> None:
    """Try again after `delay` microseconds. Raises Superseded."""
    write(session, operation, state=State.READY, owner=None, not_before=now(session) + delay, error=error)


# ---------------------------------------------------------------------------- a person's side


def find(session: Session, ctx: Context, id: str) -> Operation:
    """By id or by an unambiguous beginning of one. Raises NotFound, also for another project's."""
    authorize(ctx, "operation:list")
    query = select(Operation).where(col(Operation.id).startswith(id, autoescape=True)).limit(2)
    if not ctx.is_admin:
        query = query.where(col(Operation.project_id) == ctx.project_id)
    rows = session.execute(query).scalars().all()
    if len(rows) != 1:
        raise NotFound(f"no single operation {id!r}", hint="skydeck operation list shows them.")
    return rows[0]


def cancel(session: Session, ctx: Context, id: str) -> Operation:
    """Ask an open operation to stop. What it already made is undone. Raises Conflict when it has ended."""
    authorize(ctx, "operation:manage")
    operation = find(session, ctx, id)
    if operation.state not in OPEN:
        raise Conflict(f"operation {operation.id} has {operation.state} already", hint="Nothing is left to cancel.")
    request_cancel(session, operation)
    _record(session, ctx, operation, "operation.cancel")
    return operation


def request_cancel(session: Session, operation: Operation) -> None:
    """Mark it; the engine undoes and ends it, also when it never began, so that its object learns of it."""
    operation.cancel = True
    if operation.state != State.RUNNING:
        operation.state = State.READY
        operation.not_before = 0
    session.flush()
    session.info["enqueued"] = True


def retry(session: Session, ctx: Context, id: str) -> Operation:
    """Let a blocked operation, or one waiting for its next try, run now. Raises Conflict in any other state."""
    authorize(ctx, "operation:manage")
    operation = find(session, ctx, id)
    if operation.state not in (State.BLOCKED, State.READY):
        raise Conflict(
            f"operation {operation.id} is {operation.state}",
            hint="A failed one was undone: ask for the verb again." if operation.state == State.FAILED else "",
        )
    operation.state, operation.attempt, operation.not_before, operation.error = State.READY, 0, 0, None
    session.flush()
    session.info["enqueued"] = True
    _record(session, ctx, operation, "operation.retry")
    return operation


def open_on(session: Session, object_id: str) -> list[Operation]:
    """What is not yet ended on an object, oldest first."""
    return list(
        session.execute(
            select(Operation)
            .where(col(Operation.object_id) == object_id, col(Operation.state).in_(OPEN))
            .order_by(col(Operation.seq))
        ).scalars()
    )


def at_work(session: Session, object_id: str, *, since: int) -> bool:
    """Whether an operation on the object is open, or has ended since that time (microseconds since the epoch)."""
    at_it = col(Operation.state).in_(OPEN) | (col(Operation.ended_at) >= since)
    query = select(Operation.seq).where(col(Operation.object_id) == object_id, at_it).limit(1)
    return session.execute(query).first() is not None


def _record(session: Session, ctx: Context, operation: Operation, action: str) -> None:
    events.record(
        session,
        ctx,
        action,
        kind="operation",
        id=operation.id,
        name=f"{operation.kind} {operation.object_name}",
        project_id=operation.project_id,
    )


def revive(session: Session, lane: str) -> None:
    """A host is back: what waited for it, or was blocked because of it, may go at once."""
    waiting = update(Operation).where(
        col(Operation.lane) == lane,
        (col(Operation.state) == State.BLOCKED)
        | ((col(Operation.state) == State.READY) & (col(Operation.not_before) > 0)),
    )
    revived = session.execute(
        waiting.values(state=State.READY, not_before=0, attempt=0).execution_options(synchronize_session=False)
    )
    if revived.rowcount:  # type: ignore[attr-defined]
        session.info["enqueued"] = True


def orphan(session: Session, owner: str) -> int:
    """A new engine that is alone: what other owners ran is nobody's now. Answers how many there were."""
    left = session.execute(
        update(Operation)
        .where(col(Operation.state) == State.RUNNING, col(Operation.owner) != owner)
        .values(lease_until=0)
        .execution_options(synchronize_session=False)
    )
    return int(left.rowcount)  # type: ignore[attr-defined]
