"""The engine as a process. One per database; it holds the engine lease and all links to hosts.

Started under a service manager, or in the background by the first command that enqueues work; a background one ends by
itself when nothing is left to do and nobody is attached.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
import uuid

from sqlalchemy import func
from sqlmodel import Session, col

from core import cloud, housekeeping
from core.cloud import Lease
from core.config import Config
from core.crash import CrashPoints
from core.door import SOCKET as DOOR
from core.doorkeeper import Doorkeeper
from core.errors import Unavailable
from core.events import Event
from core.hosts.pool import HostPool
from core.hosts.reconcile import Reconciler
from core.images.stores import Stores
from core.metrics.collect import Collector, living
from core.operations import operations
from core.operations.engine import Engine
from core.operations.operations import OPEN, Operation
from core.runner import Runner
from core.serve import starting
from core.sql import select
from core.store import Store
from core.wake import SOCKET as BELL

_log = logging.getLogger(__name__)

LEASE = 15_000_000
"""Microseconds the engine lease holds without renewal. On one machine the lock file tells sooner."""

RENEW_EVERY = 4.0
CHECKPOINT_EVERY = 30.0


def run(config: Config, *, background: bool = False, lock: int | None = None) -> None:
    """Be the engine until told to stop (SIGTERM, SIGINT). Raises Unavailable when another one is.

    `lock` is the engine's lock as an open file, when whoever started this process has taken it already.
    """
    lock = starting.take_lock(config) if lock is None else lock
    if lock is None:
        raise Unavailable("an engine runs already", hint="It serves this home; nothing more is needed.")
    starting.sign(lock, os.getpid())
    try:
        store = cloud.open_store(config)
        try:
            asyncio.run(_Service(config, store, background=background).run())
        finally:
            store.close()
    finally:
        os.close(lock)


class _Service:
    """Everything the engine's process runs, in one event loop."""

    def __init__(self, config: Config, store: Store, *, background: bool) -> None:
        self._config = config
        self._store = store
        self._background = background
        self._runner = Runner(store)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._end = asyncio.Event()
        self._refresh = asyncio.Event()

    async def run(self) -> None:
        lease = await self._take_lease()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._end.set)
        identity = await self._runner.read(cloud.identity)
        await self._runner.write(lambda session: operations.orphan(session, self._owner))
        reconciler = Reconciler(
            self._runner,
            interval=self._config.drift_interval,
            progress=lambda uuid, percent: self._progress(uuid, percent),
            wake=lambda: self._engine.wake(),
        )
        self._hosts = HostPool(
            self._runner,
            self._config,
            reconciler,
            cloud=identity,
            term=lease.term,
            images=Stores(self._config),
        )
        self._engine = Engine(
            self._runner, self._hosts, self._config, owner=self._owner, crash=CrashPoints(self._config.run_dir)
        )
        self._door = Doorkeeper(self._runner, self._hosts, self._config.run_dir / DOOR)
        bell = self._listen()
        loop.add_reader(bell, self._rung, bell)
        _log.info("engine %s, term %d", self._owner, lease.term)
        await self._hosts.refresh()
        await self._door.start()
        tasks = [
            asyncio.create_task(self._engine.run(), name="engine"),
            asyncio.create_task(reconciler.run(self._hosts.all), name="reconciler"),
            asyncio.create_task(self._keep_lease(lease), name="lease"),
            asyncio.create_task(self._keep_hosts(), name="hosts"),
            asyncio.create_task(self._checkpoint(), name="checkpoint"),
            asyncio.create_task(housekeeping.keep(self._runner, self._config, self._hosts.all), name="housekeeping"),
            asyncio.create_task(self._metrics().run(), name="metrics"),
            asyncio.create_task(self._idle(), name="idle"),
        ]
        ending = asyncio.create_task(self._end.wait())
        try:
            done, _ = await asyncio.wait({ending, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {ending}:
                task.result()  # a part that ended by itself has failed: end with it
        finally:
            loop.remove_reader(bell)
            bell.close()
            await self._door.stop()
            await self._engine.stop()
            for task in (*tasks, ending):
                task.cancel()
            await asyncio.gather(*tasks, ending, return_exceptions=True)
            await self._hosts.close()
            await self._runner.write(lambda session: cloud.give_up_lease(session, lease))
            self._runner.close()
            _log.info("engine %s ended", self._owner)

    def _metrics(self) -> Collector:
        return Collector(self._config, self._hosts.all, living=lambda: self._runner.read(living))

    async def _take_lease(self) -> Lease:
        """On SQLite the lock file has settled who is the engine; on PostgreSQL the lease does, so wait for it."""
        force = self._store.is_sqlite
        while True:
            lease = await self._runner.write(
                lambda session: cloud.take_lease(session, owner=self._owner, lasts=LEASE, force=force)
            )
            if lease is not None:
                return lease
            _log.info("another controller is the engine; waiting for its lease to end")
            await asyncio.sleep(RENEW_EVERY)

    async def _keep_lease(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY)
            if not await self._runner.write(lambda session: cloud.renew_lease(session, lease, lasts=LEASE)):
                raise Unavailable("another engine took over", hint="Hosts refuse this one from now on.")

    def _listen(self) -> socket.socket:
        path = self._config.run_dir / BELL
        path.unlink(missing_ok=True)
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bell.bind(str(path))
        path.chmod(0o600)
        bell.setblocking(False)
        return bell

    def _rung(self, bell: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while bell.recv(64):
                pass
        self._engine.wake()
        self._refresh.set()

    def _progress(self, uuid: str, percent: int) -> None:
        work = self._engine.work_on(uuid)
        if work is not None:
            work.report(percent)

    async def _keep_hosts(self) -> None:
        """Hosts come and go in the store; look when the bell rang, and now and then."""
        while True:
            self._refresh.clear()
            await self._hosts.refresh()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RENEW_EVERY):
                    await self._refresh.wait()

    async def _checkpoint(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_EVERY)
            await asyncio.to_thread(self._store.checkpoint)

    async def _idle(self) -> None:
        """A background engine ends when it has had nothing to do for `serve_idle` seconds."""
        quiet_since = time.monotonic()
        newest = -1
        while True:
            await asyncio.sleep(1.0)
            waiting, seen = await self._runner.read(_signs_of_life)
            if self._engine.busy or self._door.attached or waiting or seen != newest:
                quiet_since, newest = time.monotonic(), seen
            if self._background and time.monotonic() - quiet_since > self._config.serve_idle:
                _log.info("nothing to do for %d s: ending", self._config.serve_idle)
                self._end.set()


def _signs_of_life(session: Session) -> tuple[bool, int]:
    """(whether an operation is open, the newest audit event)."""
    waiting = session.execute(select(Operation.seq).where(col(Operation.state).in_(OPEN)).limit(1)).first()
    return waiting is not None, session.execute(select(func.max(Event.id))).scalar_one() or 0
