"""Doing something without doing it: a verb runs whole, in a transaction that is never kept.

A form that asks "would this be accepted, and what would be left of the quota?" must not restate a verb's rules, for a
copy of a rule is wrong on the day the rule changes. It runs the verb itself, on a store whose writes are taken back.
What a verb does beyond the database is done all the same: only verbs that change nothing else may be rehearsed.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from sqlmodel import Session

from core.context import Context
from core.errors import QuotaExceeded, SkydeckError
from core.identity import quotas
from core.store import Clock, Store


class Rehearsal(Store):
    """A store for one rehearsal: every write is a part of the one transaction, and every read sees those before it."""

    def __init__(self, store: Store, session: Session) -> None:
        # Not opened a second time: it lives in the other's transaction.
        self.url = store.url
        # Ids that are thrown away are not taken from a sequence that somebody counts on.
        self.clock = Clock(now=lambda: store.clock.now() / 1_000_000)
        self.on_commit = None
        self.is_sqlite = store.is_sqlite
        self._path = store.path
        self._watcher = None
        self.read_only = store.read_only
        self._session = session
        session.info["clock"] = self.clock

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        yield self._session

    @contextlib.contextmanager
    def write(self, *, ticket: bool = False) -> Iterator[Session]:
        with self._session.begin_nested():
            yield self._session

    def close(self) -> None:
        """Whoever opened the store closes it."""


@contextlib.contextmanager
def of(store: Store) -> Iterator[Rehearsal]:
    """A store for verbs to run against; what they did is undone at the end, and nobody is told of it.

    The one writer is held meanwhile: rehearse what takes milliseconds.
    """

    class Over(Exception):
        pass

    with contextlib.suppress(Over), store.write() as session:
        yield Rehearsal(store, session)
        raise Over


@dataclasses.dataclass(frozen=True, kw_only=True)
class Count:
    """What a verb would change of what a quota counts."""

    before: int
    after: int
    limit: int
    """-1: unlimited."""

    @property
    def over(self) -> bool:
        return 0 <= self.limit < self.after


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a verb would say."""

    refused: SkydeckError | None
    """None: it would be accepted."""
    counts: dict[str, Count]
    """Resource to its count, for those that would change."""


def outcome(store: Store, ctx: Context, verb: Callable[[Store], object]) -> Outcome:
    """Rehearse `verb(store)`. A quota that refuses it is told with the numbers that would have been.

    Raises Unavailable when the store cannot be used.
    """
    found = _run(store, ctx, verb, limited=True)
    if isinstance(found.refused, QuotaExceeded):
        beyond = _run(store, ctx, verb, limited=False)
        return dataclasses.replace(found, counts=beyond.counts)
    return found


def _run(store: Store, ctx: Context, verb: Callable[[Store], object], *, limited: bool) -> Outcome:
    with of(store) as trial, trial.read() as session:
        limits = dict(quotas.limits(session, ctx.project_id))
        before = quotas.tally(session, ctx.project_id)
        if not limited:
            quotas.lift(session, ctx.project_id)
        try:
            verb(trial)
        except SkydeckError as bad:
            return Outcome(refused=bad, counts={})
        after = quotas.tally(session, ctx.project_id)
        counts = {
            resource: Count(before=before.get(resource, 0), after=count, limit=limits.get(resource, quotas.UNLIMITED))
            for resource, count in after.items()
            if count != before.get(resource, 0)
        }
    return Outcome(refused=None, counts=counts)
