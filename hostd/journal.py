"""What the host must not forget: intents before effects, outcomes after, events until acknowledged.

Delivery from the controller is at least once; the rules of `Journal.begin` make its effects exactly
once. The file is SQLite (WAL, synchronous=FULL) held exclusively by one process. A `Journal` is
thread-safe; every method is one durable transaction and blocks for as long as the disk takes.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import attrs

from hostd.spec import Act, Apply, ErrorCode, Event, EventKind, HostError, ObjectKind, WireError, load

EVENTS_KEPT: Final = 100_000
"""Events kept when nobody acknowledges: at a few a minute, more than a week without a controller."""

ACTS_KEPT: Final = 10_000
"""Answers of acts kept for repeats. A repeat follows within minutes; this is days of reboots."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    kind TEXT NOT NULL,
    uuid TEXT NOT NULL,
    generation INTEGER NOT NULL,
    digest TEXT NOT NULL,
    spec TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intent', 'done', 'failed')),
    outcome TEXT,
    PRIMARY KEY (kind, uuid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS acts (
    serial INTEGER PRIMARY KEY AUTOINCREMENT,
    request TEXT NOT NULL UNIQUE,
    asked TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intent', 'done', 'failed')),
    outcome TEXT
);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    uuid TEXT,
    detail TEXT NOT NULL
);
"""


class State(StrEnum):
    """How far an apply or an act came."""

    INTENT = "intent"
    """Asked for, perhaps begun: done again after a restart."""
    DONE = "done"
    FAILED = "failed"


@attrs.frozen(kw_only=True)
class Entry:
    """One object as the journal knows it. An object that was deleted stays as a tombstone."""

    kind: ObjectKind
    uuid: str
    generation: int
    digest: str
    spec: dict[str, Any]
    state: State
    outcome: dict[str, Any] | None
    """`dump` of Applied when done, of WireError when failed."""

    @property
    def gone(self) -> bool:
        """A tombstone: deleted, its spec forgotten, its generation remembered."""
        return not self.spec


class Journal:
    """The tables and the rules that go with them."""

    def __init__(self, path: Path | None, *, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        """Open or make the journal at `path`; None keeps it in memory.

        Raises HostError(BAD_STATE) when another process holds it.
        """
        self._clock = clock
        self._lock = threading.Lock()
        if path is not None:
            # Specs carry user data: the journal and the files SQLite makes beside it are for root alone.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(
            str(path) if path else ":memory:", isolation_level=None, check_same_thread=False, timeout=0
        )
        self._db.row_factory = sqlite3.Row
        try:
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.OperationalError as bad:
            self._db.close()
            if bad.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise HostError(ErrorCode.BAD_STATE, f"{path} is held by another hostd") from bad
            raise
        if self.meta("journal_id") is None:
            self.set_meta("journal_id", new_id())

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as bad:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(bad, sqlite3.OperationalError) and bad.sqlite_errorcode == sqlite3.SQLITE_FULL:
                    raise HostError(
                        ErrorCode.DISK_FULL,
                        "the journal cannot grow: the host's disk is full",
                        hint="free space on the host, or shrink the image cache",
                    ) from bad
                raise

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # ------------------------------------------------------------------------ meta

    def meta(self, key: str) -> str | None:
        """A single value by name."""
        with self._transaction() as db:
            row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row["value"])

    def set_meta(self, key: str, value: str) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def admit_controller(self, cloud: str, term: int) -> int:
        """Pin the cloud at its first hello, raise the term to the newest seen, and return it.

        Raises HostError: WRONG_CLOUD, STALE_CONTROLLER.
        """
        with self._transaction() as db:
            pinned = dict(db.execute("SELECT key, value FROM meta WHERE key IN ('cloud', 'term')").fetchall())
            if pinned.get("cloud", cloud) != cloud:
                raise HostError(
                    ErrorCode.WRONG_CLOUD,
                    f"this host belongs to cloud {pinned['cloud']}",
                    hint="remove it there first: `skydeck host remove`",
                )
            known = int(pinned.get("term", 0))
            if term < known:
                raise stale(term, known)
            if "cloud" not in pinned or term > known:
                db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", [("cloud", cloud), ("term", str(term))])
            return term

    # ------------------------------------------------------------------------ objects

    def begin(self, apply: Apply, digest: str) -> Entry:
        """Write the intent of an apply, or find that it was met before.

        The entry's state says which: INTENT is to be converged (or joined when that is under way),
        DONE carries the answer. An apply that failed becomes an intent again.

        Raises HostError: OLD_GENERATION, or CONFLICT when this generation asked something else.
        """
        with self._transaction() as db:
            known = self._entry(db, apply.kind, apply.uuid)
            if known is not None:
                _admit(known, apply.generation, digest)
                if known.generation == apply.generation and known.state is not State.FAILED:
                    return known
            db.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, 'intent', NULL)",
                (apply.kind.value, apply.uuid, apply.generation, digest, json.dumps(apply.spec)),
            )
            return Entry(
                kind=apply.kind,
                uuid=apply.uuid,
                generation=apply.generation,
                digest=digest,
                spec=apply.spec,
                state=State.INTENT,
                outcome=None,
            )

    def finish(self, entry: Entry, state: State, outcome: dict[str, Any], gone: bool) -> Event:
        """Write an apply's outcome and its event together; `gone` leaves a tombstone.

        A newer generation that arrived meanwhile keeps its intent: only the event is written then.
        """
        detail: dict[str, Any] = {"generation": entry.generation, "ok": state is State.DONE}
        if state is State.FAILED:
            detail["error"] = outcome
        with self._transaction() as db:
            db.execute(
                "UPDATE objects SET state = ?, outcome = ?, spec = ? WHERE kind = ? AND uuid = ? AND generation = ?",
                (
                    state.value,
                    json.dumps(outcome),
                    "{}" if gone else json.dumps(entry.spec),
                    entry.kind.value,
                    entry.uuid,
                    entry.generation,
                ),
            )
            return self._append(db, EventKind.RESULT, entry.uuid, detail)

    def entry(self, kind: ObjectKind, uuid: str) -> Entry | None:
        with self._transaction() as db:
            return self._entry(db, kind, uuid)

    def entries(self) -> tuple[Entry, ...]:
        """Every object ever applied, tombstones included."""
        with self._transaction() as db:
            return tuple(_entry(row) for row in db.execute("SELECT * FROM objects"))

    def generations(self) -> dict[tuple[ObjectKind, str], int]:
        """The newest generation asked of every object, by kind and uuid."""
        with self._transaction() as db:
            rows = db.execute("SELECT kind, uuid, generation FROM objects").fetchall()
        return {(ObjectKind(row["kind"]), row["uuid"]): row["generation"] for row in rows}

    def _entry(self, db: sqlite3.Connection, kind: ObjectKind, uuid: str) -> Entry | None:
        row = db.execute("SELECT * FROM objects WHERE kind = ? AND uuid = ?", (kind.value, uuid)).fetchone()
        return None if row is None else _entry(row)

    # ------------------------------------------------------------------------ acts

    def begin_act(self, act: Act) -> dict[str, Any] | None:
        """Write the intent of an act; the stored detail when this request was answered before.

        Raises HostError: what the first try raised, or CONFLICT when the id asked something else.
        """
        asked = json.dumps([act.verb, act.uuid, act.args], sort_keys=True)
        with self._transaction() as db:
            row = db.execute("SELECT * FROM acts WHERE request = ?", (act.request,)).fetchone()
            if row is None:
                db.execute("INSERT INTO acts (request, asked, state) VALUES (?, ?, 'intent')", (act.request, asked))
                db.execute("DELETE FROM acts WHERE serial <= (SELECT max(serial) FROM acts) - ?", (ACTS_KEPT,))
                return None
        if row["asked"] != asked:
            raise HostError(ErrorCode.CONFLICT, f"request {act.request} asked something else before")
        state = State(row["state"])
        if state is State.INTENT:
            return None
        outcome: dict[str, Any] = json.loads(row["outcome"])
        if state is State.FAILED:
            raise as_host_error(load(WireError, outcome))
        return outcome

    def finish_act(self, act: Act, state: State, outcome: dict[str, Any]) -> None:
        """Write what came of an act: the detail, or `dump` of its WireError."""
        with self._transaction() as db:
            db.execute(
                "UPDATE acts SET state = ?, outcome = ? WHERE request = ?",
                (state.value, json.dumps(outcome), act.request),
            )

    # ------------------------------------------------------------------------ events

    def append(self, kind: EventKind, uuid: str | None, detail: dict[str, Any]) -> Event:
        """Number, date and store an event. Beyond EVENTS_KEPT the oldest are dropped."""
        with self._transaction() as db:
            return self._append(db, kind, uuid, detail)

    def _append(self, db: sqlite3.Connection, kind: EventKind, uuid: str | None, detail: dict[str, Any]) -> Event:
        at = self._clock()
        seq = db.execute(
            "INSERT INTO events (at, kind, uuid, detail) VALUES (?, ?, ?, ?)",
            (at, kind.value, uuid, json.dumps(detail)),
        ).lastrowid
        assert seq is not None
        db.execute("DELETE FROM events WHERE seq <= ?", (seq - EVENTS_KEPT,))
        return Event(seq=seq, at=at, kind=kind, uuid=uuid, detail=detail)

    def events(self, after: int, limit: int) -> tuple[Event, ...]:
        """Stored events with a number above `after`, oldest first, at most `limit`."""
        with self._transaction() as db:
            rows = db.execute("SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)).fetchall()
        return tuple(
            Event(
                seq=row["seq"],
                at=row["at"],
                kind=EventKind(row["kind"]),
                uuid=row["uuid"],
                detail=json.loads(row["detail"]),
            )
            for row in rows
        )

    def last_seq(self) -> int:
        """The newest event's number, acknowledged or not; 0 before the first."""
        with self._transaction() as db:
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        return 0 if row is None else int(row["seq"])

    def acknowledge(self, seq: int) -> None:
        """Forget events up to and including `seq`; their numbers are never given again."""
        with self._transaction() as db:
            db.execute("DELETE FROM events WHERE seq <= ?", (seq,))


def as_host_error(error: WireError) -> HostError:
    """The exception that a stored or received error stands for."""
    return HostError(error.code, error.message, hint=error.hint, step=error.step)


def stale(term: int, newest: int) -> HostError:
    """The refusal of a controller whose term is over."""
    return HostError(
        ErrorCode.STALE_CONTROLLER,
        f"term {term} is over: this host follows term {newest}",
        hint="another controller took over; this one must read the store again",
    )


def _admit(known: Entry, generation: int, digest: str) -> None:
    if generation < known.generation:
        raise HostError(
            ErrorCode.OLD_GENERATION,
            f"{known.kind} {known.uuid}: generation {generation} is older than {known.generation}",
        )
    if generation == known.generation and digest != known.digest:
        raise HostError(
            ErrorCode.CONFLICT,
            f"{known.kind} {known.uuid}: generation {generation} asked something else before",
            hint="give the change a new generation",
        )


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(
        kind=ObjectKind(row["kind"]),
        uuid=row["uuid"],
        generation=row["generation"],
        digest=row["digest"],
        spec=json.loads(row["spec"]),
        state=State(row["state"]),
        outcome=None if row["outcome"] is None else json.loads(row["outcome"]),
    )
