"""`hostd serve`: puts the daemon together, makes sure it is the only one, and runs it."""

from __future__ import annotations

import asyncio
import fcntl
import functools
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

import attrs

from hostd.cache import ImageCache
from hostd.crash import ENVIRONMENT, CrashPoints
from hostd.drivers import AnyDriver, Guests, Happened, Networking
from hostd.events import Run
from hostd.host import Machine
from hostd.journal import Journal
from hostd.logs.follower import Follower
from hostd.metrics import Counting, Sampler
from hostd.server import Server, listen
from hostd.service import HostService, Parts
from hostd.spec import HostError
from hostd.storage.volumes.driver import VolumeDriver
from hostd.storage.volumes.snapshots import SnapshotDriver
from hostd.storage.volumes.volumes import Volumes
from hostd.streams.contents import HostDisks
from hostd.streams.disks import Disks

T = TypeVar("T")

log = logging.getLogger(__name__)

DRIVER_THREADS: Final = 32
"""Guests being stopped sit in a thread each until they obey; observations must still get through."""

STOPPING: Final = 10.0
"""Seconds for the drivers to let go at the end."""


def main(*, state: Path, run: Path, memory: bool) -> int:
    """Run until SIGTERM or SIGINT. Exit code 2 when another hostd runs here."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    state.mkdir(mode=0o711, parents=True, exist_ok=True)
    run.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not _lock(run / "hostd.pid"):
        sys.stderr.write(f"another hostd holds {run / 'hostd.pid'}\n")
        return 2
    crash = CrashPoints(label=os.environ.get(ENVIRONMENT), file=run / "crash")
    made = drivers(state=state, run=run, memory=memory)
    try:
        journal = Journal(state / "journal.db", clock=time.time, new_id=_new_id)
    except HostError as bad:
        sys.stderr.write(f"{bad}\n")
        return 2
    machine = Machine(state=state, new_id=_new_id)
    parts = Parts(
        journal=journal,
        images=ImageCache(state / "images", clock=time.time, crash=crash),
        guests=made.guests,
        networking=made.networking,
        volumes=made.volumes,
        storage=made.storage,
        disks=made.disks,
        machine=machine,
        sampler=Sampler(
            directory=run / "metrics",
            uuid=machine.uuid,
            guests=lambda: made.guests.measure(time.time),
            host=lambda: Counting(disk=state).sample(time.time_ns() // 1000),
            clock=time.time,
        ),
        crash=crash,
        clock=time.time,
        run_journal=_runner(ThreadPoolExecutor(1, thread_name_prefix="journal")),
        run_driver=_runner(ThreadPoolExecutor(DRIVER_THREADS, thread_name_prefix="driver")),
    )
    path = run / "hostd.sock"
    code = 0
    try:
        asyncio.run(_serve(parts, listen(path)))
    except Exception:
        log.exception("hostd ends")
        code = 1
    path.unlink(missing_ok=True)
    log.info("stopped")
    # Not `return`: threads may wait for guests that are slow to stop. Their intents are in the journal.
    os._exit(code)


@attrs.frozen(kw_only=True)
class Drivers:
    """What touches this host, not started. Iterates over the drivers, those first that others stand on."""

    guests: Guests
    networking: Networking
    volumes: Volumes
    storage: tuple[AnyDriver, ...]
    """Of volumes, snapshots and exports."""
    disks: Disks

    def __iter__(self) -> Iterator[AnyDriver]:
        return iter((self.guests, self.networking, *self.storage))


def drivers(*, state: Path, run: Path, memory: bool) -> Drivers:
    """The drivers of this host; `memory` for those that touch no host."""
    return _in_memory(state, run) if memory else _real(state, run)


def _real(state: Path, run: Path) -> Drivers:
    from hostd.compute.driver import GuestDriver
    from hostd.compute.exports import ExportDriver
    from hostd.network.driver import NetworkingDriver

    volumes = Volumes(state=state, run=run)
    guests = GuestDriver(state=state, run=run, storage=volumes)
    volumes.live = guests.live_disks
    exports = ExportDriver(state=state, guests=guests)
    return Drivers(
        guests=guests,
        networking=NetworkingDriver(state=state, run=run),
        volumes=volumes,
        storage=(VolumeDriver(volumes), SnapshotDriver(volumes), exports),
        disks=HostDisks(
            backend=volumes.backend, export=exports.source, holder=guests.live_disks.holder, run=run / "disks"
        ),
    )


def _in_memory(state: Path, run: Path) -> Drivers:
    from hostd.memory import Directory, MemoryExports, MemoryGuests, MemoryNetworking, MemoryPools
    from hostd.streams import plain

    world = state / "memory"
    pools = MemoryPools(own=world / "volumes", shared=world / "volumes")
    volumes = Volumes(state=state, run=run, backends=pools.make)
    guests = MemoryGuests(Directory(world / "guests"), consoles=run, storage=volumes)
    volumes.live = guests
    exports = MemoryExports(Directory(world / "exports"), guests=guests, files=world / "exported")
    return Drivers(
        guests=guests,
        networking=MemoryNetworking(Directory(world / "networking")),
        volumes=volumes,
        storage=(VolumeDriver(volumes), SnapshotDriver(volumes), exports),
        disks=HostDisks(
            backend=volumes.backend, export=exports.source, holder=guests.holder, run=run, open=plain.opened
        ),
    )


async def _serve(parts: Parts, listening: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    service = HostService(parts)

    def heard(what: Happened) -> None:
        loop.call_soon_threadsafe(service.heard, what)

    follower = Follower(parts.guests.logs, heard, tidy=parts.guests.tidy_logs)
    serving = loop.create_task(Server(service).serve(listening))
    service.begin()
    parts.sampler.start()
    follower.start()
    log.info("serving on %s", listening.getsockname())
    ended, _ = await asyncio.wait([serving, loop.create_task(over.wait())], return_when=asyncio.FIRST_COMPLETED)
    follower.stop()
    serving.cancel()
    parts.sampler.stop()
    await asyncio.wait_for(service.stop(), STOPPING)
    if serving in ended:
        await serving


def _lock(pidfile: Path) -> bool:
    """Hold the pidfile for the life of this process."""
    handle = os.open(pidfile, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return False
    os.truncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())
    return True


def _runner(pool: ThreadPoolExecutor) -> Run:
    def run(function: Callable[..., T], *args: Any) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(pool, functools.partial(function, *args))

    return run


def _new_id() -> str:
    return str(uuid4())
