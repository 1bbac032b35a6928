"""A person's own deeds, newest first, out of the audit trail; and undoing one of them.

Everything a person did with one request is one deed: three servers stopped at once are started at once. An undo leaves
an event of its own that names what it took back, so that asking again goes one further.
"""

from __future__ import annotations

import dataclasses

from sqlmodel import Session, col

from core import events
from core.config import Config
from core.context import Context
from core.errors import Conflict, Invalid, Refused
from core.events import Event
from core.sql import select
from core.store import Store
from core.undo.inverses import inverse
from core.undo.model import Inverse

MOST = 50
"""Deeds looked back at."""

_READ = 400
"""Events read for them at most."""

ACTION = "undo"
"""The last part of the action of an event that an undo leaves."""

_UNDOES = "undoes"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deed:
    """What one request of a person's did, and how it is taken back."""

    request_id: str
    at: int
    """Microseconds since the epoch."""
    action: str
    """Of its first event: `instance.stop`."""
    names: tuple[str, ...]
    """Its objects."""
    inverses: tuple[Inverse, ...]
    """In the order in which they are done; empty when it cannot be taken back."""
    why_not: tuple[str, str] | None
    """Why it cannot, and what there is instead."""

    @property
    def says(self) -> str:
        """What undoing it would do: `start web-01`, `start web-01 and 2 more`."""
        if not self.inverses:
            return ""
        more = len(self.inverses) - 1
        return self.inverses[0].says + (f" and {more} more" if more else "")

    @property
    def asks(self) -> bool:
        return any(one.asks for one in self.inverses)

    @property
    def dangerous(self) -> bool:
        return any(one.dangerous for one in self.inverses)

    @property
    def loses(self) -> str:
        return "; ".join(dict.fromkeys(one.loses for one in self.inverses if one.loses))


def recent(session: Session, ctx: Context, *, limit: int = MOST) -> list[Deed]:
    """What the caller did in the present project or as the operator, newest first; without what is undone already."""
    query = select(Event).where(
        col(Event.user_id) == ctx.user_id,
        col(Event.source) != "serve",
        (col(Event.project_id) == ctx.project_id) | col(Event.project_id).is_(None),
    )
    found = list(session.execute(query.order_by(col(Event.id).desc()).limit(_READ)).scalars())
    skipped: set[str] = set()
    by_request: dict[str, list[Event]] = {}
    for event in found:
        if event.action.endswith(f".{ACTION}"):
            skipped |= {event.request_id, str((event.after or {}).get(_UNDOES))}
        by_request.setdefault(event.request_id, []).append(event)
    deeds = []
    for request, those in by_request.items():
        if request not in skipped:
            deeds.append(_deed(session, request, those))
        if len(deeds) >= limit:
            break
    return deeds


def _deed(session: Session, request: str, newest_first: list[Event]) -> Deed:
    """Taken back in reverse. Of an attach both the server and the volume tell; one inverse will do."""
    inverses: list[Inverse] = []
    why_not: tuple[str, str] | None = None
    for event in newest_first:
        if event.action in _TOLD_TWICE:
            continue
        try:
            inverses.append(inverse(session, event))
        except Invalid as no:
            why_not = (no.title, no.hint)
    if why_not is not None:
        inverses = []  # half of a deed taken back would be a third state
    first = newest_first[-1]
    return Deed(
        request_id=request,
        at=first.at,
        action=first.action,
        names=tuple(dict.fromkeys(event.object_name for event in reversed(newest_first))),
        inverses=tuple(inverses),
        why_not=why_not or (None if inverses else ("nothing was changed", "")),
    )


_TOLD_TWICE = ("volume.attach", "volume.detach")
"""The same act as the server's event beside it."""


def undo(store: Store, ctx: Context, config: Config, request_id: str) -> tuple[list[str], list[tuple[str, Refused]]]:
    """Take a deed of the caller's back: (what was done, what was refused with the reason).

    Each object's inverse is a transaction of its own, as the deed's were. Raises Conflict when there is no such deed,
    or it cannot be taken back.
    """
    with store.read() as session:
        deed = next((one for one in recent(session, ctx) if one.request_id == request_id), None)
    if deed is None:
        raise Conflict("this was undone already, or is too long ago", hint=":undo shows what there is.")
    if deed.why_not is not None:
        raise Conflict(f"cannot undo: {deed.why_not[0]}", hint=deed.why_not[1])
    done: list[str] = []
    refused: list[tuple[str, Refused]] = []
    for one in deed.inverses:
        try:
            with store.write() as session:
                one.run(session, ctx, config)
                _record(session, ctx, deed)
        except Refused as bad:
            refused.append((one.says, bad))
        else:
            done.append(one.says)
    return done, refused


def _record(session: Session, ctx: Context, deed: Deed) -> None:
    kind = deed.action.rpartition(".")[0]
    first = session.execute(
        select(Event).where(col(Event.request_id) == deed.request_id).order_by(col(Event.id)).limit(1)
    ).scalar_one()
    events.record(
        session,
        ctx,
        f"{kind}.{ACTION}",
        kind=first.object_kind,
        id=first.object_id,
        name=first.object_name,
        project_id=first.project_id,
        after={_UNDOES: deed.request_id, "action": deed.action},
    )
