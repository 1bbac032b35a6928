"""The engine's door: what the app and commands need live from a host, they ask of `serve` over a UNIX socket.

Only `serve` holds host keys and links. Whoever wants a console first takes a ticket: a row bound to user, object and
purpose, made under policy and guard like any verb, valid for a minute, used once. The ticket is all the door asks for.

On the socket: one JSON line {ticket, …} from the client; one JSON line {ok: …} or {error: {type, title, hint}} back.
What follows is the purpose's: another line with the answer; for a console its frames (hostd.spec.consoles), for a way
into a guest raw bytes, in both directions until either side closes; for a log, an answer to each further line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, BigInteger, Column
from sqlmodel import Field, Session, SQLModel, col

from core import events
from core.compute.instances import guards, verbs
from core.compute.instances.table import Instance
from core.config import Config
from core.consoles import searching, ways
from core.consoles.client import Console, Log, Tunnel
from core.context import Context
from core.errors import Failed, HostFailed, Invalid, NotFound, Unavailable, Unknown
from core.hosts.table import Host
from core.identity.policy import authorize
from core.metrics.live import Live
from core.network.tracing import Path as TracePath
from core.sql import select
from core.store import clock_of, now
from hostd.spec import Traced, load

SOCKET = "door.sock"
VALID = 60_000_000
"""Microseconds a ticket waits to be used."""

PURPOSES = ("console", "console_log", "display", "observe")
"""What `ticket` gives leave for; other purposes have functions of their own."""

LINE = 1 << 22
"""Bytes of the longest line on the socket: an observation of a large host."""


class Ticket(SQLModel, table=True):
    """Leave to ask for one thing, once."""

    id: str = Field(primary_key=True)
    purpose: str
    object_id: str
    """An instance, or the port a trace begins at; empty for `observe`, which sees all hosts."""
    args: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON))
    """What was asked, where the object does not say it all: a trace's path."""
    user_id: str
    request_id: str
    valid_until: int = Field(sa_type=BigInteger)


def ticket(session: Session, ctx: Context, *, purpose: str, instance: str = "", again: bool = False) -> str:
    """Take a ticket for `console`, `console_log` or `display` of an instance (id or name), or to `observe` the hosts.
    `again`: in place of one that was cut; the audit trail has it already.

    Raises NotFound, Forbidden, Conflict as the guard of the purpose says.
    """
    if purpose not in PURPOSES:
        raise Invalid(f"unknown purpose {purpose!r}", hint=f"One of {', '.join(PURPOSES)}.")
    object_id = ""
    if purpose == "observe":
        authorize(ctx, "finding:list")
    else:
        found = verbs.find(session, ctx, instance, rule=guards.GUARDS[purpose].rule)
        guards.check(ctx, found, purpose)
        object_id = found.id
        if found.host_id is None:
            raise NotFound(f"{found.name} is on no host", hint="Its create failed, or has not placed it yet.")
        if purpose == "display":
            ways.local(ctx)
        if purpose != "console_log" and not again:
            _record(session, ctx, f"instance.{purpose}", found)
    return _issue(session, ctx, purpose, object_id, {"who": ctx.user_name})


def way_ticket(session: Session, ctx: Context, name: str, *, address: str, port: int) -> str:
    """Take a ticket for a TCP connection to a port of an instance (id or name), from inside its network.

    `address` is one of its own; empty: its first. Raises NotFound, Forbidden, Conflict, and Invalid for no port.
    """
    if not 0 < port < 1 << 16:
        raise Invalid(f"{port} is no port")
    found, way = ways.inside(session, ctx, name, address, port)
    _record(session, ctx, "instance.connect", found, after={"address": way.address, "port": port})
    args = {"network": way.network_id, "address": way.address, "port": port}
    return _issue(session, ctx, "connect", found.id, args)


def search_ticket(session: Session, ctx: Context, text: str, *, deleted: bool = False) -> str:
    """Take a ticket to search the console logs of the project's instances, or of all when the context spans them.

    Raises Forbidden, Invalid for a text that cannot be looked for.
    """
    return _issue(session, ctx, "log_search", "", searching.arguments(session, ctx, text, deleted=deleted))


def metrics_ticket(session: Session, ctx: Context, id: str) -> str:
    """Take a ticket to watch what an instance or a host (by id) uses. Raises NotFound, Forbidden."""
    if session.get(Host, id) is not None:
        authorize(ctx, "host:list")
        return _issue(session, ctx, "metrics", id, {"host": True})
    return _issue(session, ctx, "metrics", verbs.find(session, ctx, id).id, {"host": False})


def trace_ticket(session: Session, ctx: Context, path: TracePath) -> str:
    """Take a ticket to ask the hosts of a path (core.network.tracing.plan has checked who may) for their hops."""
    return _issue(session, ctx, "trace", path.source.port_id, path.to_json())


def _record(
    session: Session, ctx: Context, action: str, found: Instance, *, after: dict[str, Any] | None = None
) -> None:
    events.record(
        session,
        ctx,
        action,
        kind="instance",
        id=found.id,
        name=found.name,
        project_id=found.project_id,
        after=after,
    )


def _issue(session: Session, ctx: Context, purpose: str, object_id: str, args: dict[str, Any]) -> str:
    row = Ticket(
        id=clock_of(session).uuid(),
        purpose=purpose,
        object_id=object_id,
        args=args,
        user_id=ctx.user_id,
        request_id=ctx.request_id,
        valid_until=now(session) + VALID,
    )
    session.add(row)
    session.flush()
    return row.id


def redeem(session: Session, ticket_id: str) -> Ticket:
    """Take a ticket back: it is used now. Raises NotFound for one that is unknown, used or too old."""
    row = session.execute(select(Ticket).where(col(Ticket.id) == ticket_id)).scalar_one_or_none()
    if row is None or row.valid_until < now(session):
        raise NotFound("this ticket is not valid", hint="Ask again: a ticket works once, for a minute.")
    session.delete(row)
    return row


# ---------------------------------------------------------------------------- the client's side


async def console(config: Config, ticket_id: str, *, write: bool = True, at: str = "") -> Console:
    """Attach. `at` tells the others which terminal of this user it is. Raises Unavailable without an engine, HostFailed
    as the host says."""
    reader, writer = await _ask(config.run_dir, {"ticket": ticket_id, "write": write, "at": at})
    return Console(reader, writer)


async def log(config: Config, ticket_id: str, lines: int) -> Log:
    """A guest's console log, to be read again and again. Raises Unavailable without an engine, HostFailed as the host
    says."""
    return Log(*await _ask(config.run_dir, {"ticket": ticket_id, "lines": lines}))


async def console_log(config: Config, ticket_id: str, lines: int) -> str:
    """The last lines of a guest's console log, once."""
    reader = await log(config, ticket_id, lines)
    try:
        part = await reader.read(lines)
    finally:
        await reader.close()
    if part is None:
        raise Unavailable("the engine ended before it answered", hint="Try again.")
    return part.text


async def search(config: Config, ticket_id: str) -> searching.Search:
    """Lines of the console logs of many instances. Raises Unavailable without an engine."""
    return searching.read(await _answer(config, {"ticket": ticket_id}))


async def tunnel(config: Config, ticket_id: str) -> Tunnel:
    """A connection to a port of a guest. Raises Unavailable without an engine, HostFailed as the host says."""
    return Tunnel(*await _ask(config.run_dir, {"ticket": ticket_id}))


async def display(config: Config, ticket_id: str) -> tuple[str, int]:
    """(address, port) on this machine at which a guest's display answers one viewer VNC, who has to come within
    core.doorkeeper's DISPLAY_WAITS seconds. Raises Unavailable without an engine, HostFailed as the host says."""
    answer = await _answer(config, {"ticket": ticket_id})
    return str(answer["address"]), int(answer["port"])


async def observe(config: Config, ticket_id: str) -> dict[str, Any]:
    """{host id: dumped Observation, or {"error": why}} of every host, fresh."""
    answer: dict[str, Any] = (await _answer(config, {"ticket": ticket_id}))["hosts"]
    return answer


async def metrics(config: Config, ticket_id: str) -> Live:
    """A view of what an instance or a host uses. Raises Unavailable without an engine."""
    return Live(*await _ask(config.run_dir, {"ticket": ticket_id}))


async def trace(config: Config, ticket_id: str) -> list[Traced | str]:
    """What each host of the path answers, in its order; the reason where one does not."""
    answers = (await _answer(config, {"ticket": ticket_id}))["answers"]
    return [load(Traced, answer["ok"]) if "ok" in answer else str(answer["error"]) for answer in answers]


async def knock(config: Config) -> None:
    """Raises Unavailable when nobody is at the door: before a ticket is taken for nothing."""
    try:
        _, writer = await asyncio.open_unix_connection(str(config.run_dir / SOCKET))
    except (FileNotFoundError, ConnectionRefusedError) as absent:
        raise Unavailable("the engine is not running", hint="Start it: skydeck serve.") from absent
    writer.close()


async def attend(config: Config) -> None:
    """Hold the door open: while this runs, a background engine does not end for want of work. Returns when it did.

    Raises Unavailable when there is none.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(str(config.run_dir / SOCKET))
    except (FileNotFoundError, ConnectionRefusedError) as absent:
        raise Unavailable("the engine is not running", hint="Start it: skydeck serve.") from absent
    try:
        await reader.read()
    finally:
        writer.close()


async def _answer(config: Config, request: dict[str, Any]) -> dict[str, Any]:
    async with _asked(config.run_dir, request) as reply:
        return reply


@contextlib.asynccontextmanager
async def _asked(run_dir: Path, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    reader, writer = await _ask(run_dir, request)
    try:
        yield json.loads(await reader.readline())
    finally:
        writer.close()


_ERRORS: dict[str, type[Failed] | type[NotFound] | type[Unavailable]] = {
    "NotFound": NotFound,
    "Unavailable": Unavailable,
    "Unknown": Unknown,
    "HostFailed": HostFailed,
}


def refused(error: dict[str, str]) -> Failed | NotFound | Unavailable:
    """The error that the door answered, to be raised."""
    return _ERRORS.get(error["type"], Failed)(error["title"], hint=error["hint"])


async def _ask(run_dir: Path, request: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        reader, writer = await asyncio.open_unix_connection(str(run_dir / SOCKET), limit=LINE)
    except (FileNotFoundError, ConnectionRefusedError) as absent:
        raise Unavailable("the engine is not running", hint="Start it: skydeck serve.") from absent
    writer.write(json.dumps(request).encode() + b"\n")
    await writer.drain()
    line = await reader.readline()
    if not line:
        writer.close()
        raise Unavailable("the engine ended before it answered", hint="Try again.")
    reply = json.loads(line)
    if error := reply.get("error"):
        writer.close()
        raise refused(error)
    return reader, writer
