"""The one way into the database: read sessions, write sessions, and news of a change.

SQLite (WAL) by default, PostgreSQL by URL; on both there is one writer at a time. On SQLite a write starts with
BEGIN IMMEDIATE, because a deferred read-modify-write double-books silently; writers of several processes queue
on a file lock first, because SQLite's own waiting is polling and starves under load. On PostgreSQL a transaction
lock does the same. Reads never wait for either.

Only the process that holds the engine lease checkpoints the WAL (SQLite before 3.51.3 has a reported corruption
with two checkpointing writers); all others run with automatic checkpoints off.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session as OrmSession
from sqlalchemy.pool import QueuePool
from sqlmodel import Session, create_engine

from core.errors import Forbidden, Unavailable

WRITE_LOCK = 0x5D_5D_00_01
"""PostgreSQL advisory lock that serialises writers."""


class Clock:
    """Time and randomness, passed in so that a simulator can own both."""

    def __init__(self, *, now: Callable[[], float] = time.time, seed: random.Random | None = None) -> None:
        self._now = now
        self.random = seed or random.Random()
        self._seeded = seed is not None

    def now(self) -> int:
        """Microseconds since the epoch, UTC: how every timestamp is stored."""
        return int(self._now() * 1_000_000)

    def uuid(self) -> str:
        """A new resource id, with dashes."""
        if self._seeded:
            return str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        return str(uuid.uuid4())

    def hex(self) -> str:
        """A new project or user id: 32 hex digits."""
        return self.uuid().replace("-", "")


class Store:
    """A database, opened. Safe to share between threads; one per process.

    `on_commit` is called after every committed write that enqueued work: the engine's wake-up.
    """

    def __init__(self, url: str, *, clock: Clock | None = None, on_commit: Callable[[], None] | None = None) -> None:
        self.url = url
        self.clock = clock or Clock()
        self.on_commit = on_commit
        self.read_only = ""
        """Why nothing may be changed by whoever holds this store; empty when it may."""
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        self._path: Path | None = None
        self._watcher: Any = None
        if self.is_sqlite:
            database = make_url(url).database
            if not database or database == ":memory:":
                raise Unavailable("an in-memory database cannot be shared", hint="Name a file: sqlite:///PATH.")
            self._path = Path(database)
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._writer = self._engine(writes=True)
        self._reader = self._engine(writes=False)

    def _engine(self, *, writes: bool) -> Engine:
        if not self.is_sqlite:
            options = {} if writes else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            return create_engine(self.url, pool_size=4, max_overflow=16, pool_pre_ping=True, execution_options=options)
        engine = create_engine(
            self.url,
            poolclass=QueuePool,
            pool_size=1 if writes else 4,
            max_overflow=0 if writes else 16,
            pool_timeout=60,
            connect_args={"check_same_thread": False, "timeout": 30},
        )
        # The driver's own transaction handling knows no IMMEDIATE: switch it off, and begin by hand.
        begin = "BEGIN IMMEDIATE" if writes else "BEGIN"

        @event.listens_for(engine, "connect")
        def configure(connection: Any, _record: Any) -> None:
            connection.isolation_level = None
            cursor = connection.cursor()
            cursor.execute("PRAGMA busy_timeout=30000")
            if writes:
                cursor.execute("PRAGMA journal_mode=WAL")
            else:
                cursor.execute("PRAGMA query_only=ON")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute("PRAGMA wal_autocheckpoint=0")
            cursor.close()

        @event.listens_for(engine, "begin")
        def start(connection: Any) -> None:
            connection.exec_driver_sql(begin)

        return engine

    # ------------------------------------------------------------------ sessions

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent snapshot; writing through it fails."""
        with self.clear_errors(), Session(self._reader, expire_on_commit=False) as session:
            session.info["clock"] = self.clock
            yield session

    @contextlib.contextmanager
    def write(self, *, ticket: bool = False) -> Iterator[Session]:
        """One transaction: all of it or nothing. Never wait for a network inside one.

        `ticket`: it only asks leave to look (core.door), which a store that is read only may do as well. Raises
        Forbidden when it may not write.
        """
        if self.read_only and not ticket:
            raise Forbidden(self.read_only, hint="Nothing was changed. Leave read-only mode to change things.")
        with self.clear_errors(), self._turn(), Session(self._writer, expire_on_commit=False) as session:
            session.info["clock"] = self.clock
            with session.begin():
                self.lock(session.connection())
                yield session
            wake = session.info.pop("enqueued", False)
        if wake and self.on_commit:
            self.on_commit()

    def lock(self, connection: Connection) -> None:
        """Begin a transaction as the only writer. `write` and migrations do this; nobody else needs to."""
        if not connection.in_transaction():
            connection.begin()
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITE_LOCK})

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if self._path is None:
            yield
            return
        # flock is per open file, so threads of one process queue on it like processes do; and the kernel wakes
        # the next waiter at once and lets go when a holder dies.
        lock = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @contextlib.contextmanager
    def clear_errors(self) -> Iterator[None]:
        """Say what the database's errors mean: raises Unavailable for those a person can do something about."""
        try:
            yield
        except OperationalError as bad:
            cause = str(bad.orig)
            if "disk" in cause and "full" in cause:
                raise Unavailable("the disk that holds the database is full", hint="Free some space.") from bad
            if "locked" in cause:
                raise Unavailable("the database is busy", hint="Another program holds it; try again.") from bad
            if "unable to open" in cause or "readonly" in cause or "onnect" in cause:
                raise Unavailable(f"the database cannot be opened: {cause}", hint=f"See {self.url}.") from bad
            raise

    # ------------------------------------------------------------------ news

    def version(self) -> int:
        """A number that changes when anybody committed anything: cheap to poll (microseconds), says nothing of what."""
        if self.is_sqlite:
            # data_version compares with what *this* connection last saw, so it needs one of its own.
            if self._watcher is None:
                self._watcher = self._reader.raw_connection()
                self._watcher.detach()
            cursor = self._watcher.cursor()
            try:
                return int(cursor.execute("PRAGMA data_version").fetchone()[0])
            finally:
                cursor.close()
        with self._reader.connect() as connection:
            return int(connection.execute(text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")).scalar_one())

    def checkpoint(self) -> None:
        """Fold the WAL into the database. The engine lease's holder calls this, nobody else."""
        if self.is_sqlite:
            with self._writer.connect() as connection:
                connection.rollback()
                driver = connection.connection.driver_connection
                assert driver is not None
                driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        self._reader.dispose()
        self._writer.dispose()

    @property
    def path(self) -> Path | None:
        """The SQLite file, or None."""
        return self._path

    @property
    def engine(self) -> Engine:
        """For migrations only."""
        return self._writer


def clock_of(session: OrmSession) -> Clock:
    """The clock of the store this session belongs to."""
    clock: Clock = session.info["clock"]
    return clock


def now(session: OrmSession) -> int:
    """Microseconds since the epoch, by the store's clock."""
    return clock_of(session).now()
