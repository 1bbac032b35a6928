"""A host in memory: the same calls, the same rules, no machine. For tests and simulations.

It is the daemon's own service over the memory drivers, run in place instead of in threads, so that its
semantics cannot drift from the daemon's; `tests/contract` runs one suite against both. Everything that
crosses is turned to JSON and back, as on the wire. Images and consoles need a directory, a temporary one
unless given.

    host = FakeHost()
    await host.call("hello", Hello(...))
    await host.call("apply", Apply(...))
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import shutil
import socket
import tempfile
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, MutableMapping
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from hostd.cache import ImageCache
from hostd.connection import Connection
from hostd.console import Consoles
from hostd.crash import NEVER
from hostd.drivers import Step
from hostd.host import Machine
from hostd.journal import Journal
from hostd.memory import MemoryExports, MemoryGuests, MemoryNetworking, MemoryPools, Record
from hostd.metrics import Sampler
from hostd.service import HostService, Parts, Session
from hostd.spec import (
    CALLS,
    Capacity,
    Console,
    ConsoleNote,
    Empty,
    ErrorCode,
    Event,
    HostError,
    HostSample,
    InstanceSpec,
    ObjectKind,
    PowerState,
    Receive,
    Received,
    bytes_frame,
    console_frame,
    dump,
    frame,
    load,
)
from hostd.storage.volumes.driver import VolumeDriver
from hostd.storage.volumes.snapshots import SnapshotDriver
from hostd.storage.volumes.volumes import Volumes
from hostd.streams import plain
from hostd.streams.contents import HostDisks

T = TypeVar("T")

ROOMY: Final = Capacity(
    arch="x86_64",
    cpu_model="fake",
    vcpus=16,
    ram_mb=65536,
    ram_free_mb=60000,
    disk_gb=1000,
    disk_free_gb=900,
)


@attrs.define(kw_only=True)
class _FakeMachine(Machine):
    """A machine with settable facts."""

    name: str = "fake"
    identity: str = ""
    boots: int = 0
    has: Capacity = ROOMY

    def uuid(self) -> str:
        return self.identity

    def hostname(self) -> str:
        return self.name

    def boot_id(self) -> str:
        return f"boot-{self.boots}"

    def capacity(self) -> Capacity:
        return self.has

    def versions(self) -> dict[str, str]:
        return {"kernel": "fake", "python": "fake", "distribution": "fake"}


class FakeHost:
    """One host, with its failures at the test's fingertips."""

    def __init__(
        self,
        *,
        name: str = "fake",
        capacity: Capacity = ROOMY,
        root: Path | None = None,
        shared: Path | None = None,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        """`new_id` makes the ids of host and journal; by default they follow from the name. `shared` is where the
        volumes of shared backends are: hosts that are given the same directory reach the same ones."""
        if root is None:
            root = Path(tempfile.mkdtemp(prefix="skydeck-fake-"))
            weakref.finalize(self, shutil.rmtree, root, ignore_errors=True)
        numbers = itertools.count(1)
        self._new_id = new_id or (lambda: f"{name}-{next(numbers)}")
        self._clock = clock
        self._machine = _FakeMachine(state=root, new_id=self._new_id, name=name, identity=self._new_id(), has=capacity)
        self._domains: MutableMapping[str, Record] = {}
        self._networking: MutableMapping[str, Record] = {}
        self._exported: MutableMapping[str, Record] = {}
        self.pools: Final = MemoryPools(own=root / "volumes", shared=shared or root / "volumes")
        """Tests may take a backend down, by its uuid: `pools.down[uuid] = HostError(...)`."""
        self.volumes: Final = Volumes(state=root, run=root, backends=self.pools.make, patience=None)
        self.guests: Final = MemoryGuests(self._domains, consoles=root, storage=self.volumes)
        """Tests may change a guest behind the controller's back: `guests.set_power`."""
        self.volumes.live = self.guests
        self.exports: Final = MemoryExports(self._exported, guests=self.guests, files=root / "exported")
        self.disks: Final = HostDisks(
            backend=self.volumes.backend,
            export=self.exports.source,
            holder=self.guests.holder,
            run=root,
            open=plain.opened,
        )
        self.images: Final = ImageCache(root / "images", clock=clock, crash=NEVER)
        self.sampler: Final = Sampler(
            directory=root / "metrics",
            uuid=lambda: self._machine.identity,
            guests=lambda: self.guests.measure(clock),
            host=lambda: _host_sample(self.capacity, clock),
            clock=clock,
        )
        """No thread drives it: every call `metrics` takes a sample first."""
        self._journal = self._new_journal()
        self._service: HostService | None = None
        self._connections: weakref.WeakSet[FakeConnection] = weakref.WeakSet()
        self._default: FakeConnection | None = None
        self._failing: dict[str, deque[HostError]] = {}
        self._held: dict[str, asyncio.Event] = {}

    # ------------------------------------------------------------------------ the controller's side

    def connect(self) -> FakeConnection:
        """A new connection; hello is its first call."""
        if self._service is None:
            self._service = self._begin()
        connection = FakeConnection(self, self._service)
        self._connections.add(connection)
        return connection

    async def call(self, name: str, body: Any) -> Any:
        """A call on the host's one ready-made connection, renewed (and without hello) after `cut`."""
        return await self._connection().call(name, body)

    def events(self) -> AsyncIterator[Event]:
        """Events of that connection, once `watch` was called; ends when the connection is cut."""
        return self._connection().events()

    def _connection(self) -> FakeConnection:
        if self._default is None or self._default.closed:
            self._default = self.connect()
        return self._default

    # ------------------------------------------------------------------------ the test's side

    @property
    def uuid(self) -> str:
        return self._machine.identity

    @property
    def capacity(self) -> Capacity:
        return self._machine.has

    @capacity.setter
    def capacity(self, capacity: Capacity) -> None:
        self._machine.has = capacity

    def fail_next(self, where: str, error: HostError, *, times: int = 1) -> None:
        """Make the next call, step or act of that name raise `error`. A step may be named with its kind: a volume's
        and a snapshot's deletion are `volume.delete` and `snapshot.delete`."""
        self._failing.setdefault(where, deque()).extend([error] * times)

    def hold(self, step: str) -> asyncio.Event:
        """Make steps and acts of that name wait until the event returned is set. Named as for `fail_next`."""
        self._held[step] = asyncio.Event()
        return self._held[step]

    def told(self, uuid: str) -> InstanceSpec | None:
        """What an instance was last asked to be here; None when it never was, or is gone."""
        entry = self._journal.entry(ObjectKind.INSTANCE, uuid)
        return None if entry is None or entry.gone else load(InstanceSpec, entry.spec)

    def put_image(self, data: bytes) -> str:
        """Have an image in the cache without carrying it; its digest."""
        digest = hashlib.sha256(data).hexdigest()
        with self.images.receive(Receive(digest=digest, size=len(data))) as incoming:
            if not incoming.complete:
                incoming.write(memoryview(data)[incoming.offset :])
            incoming.finish()
        return digest

    def cut(self) -> None:
        """Every connection breaks: calls under way raise ConnectionResetError, their work goes on."""
        for connection in tuple(self._connections):
            connection.close()

    def restart(self) -> None:
        """The daemon was killed and came back: connections break, intents are replayed, guests run on."""
        self.cut()
        if self._service is not None:
            self._service.abandon()
            self._service = self._begin()

    def reboot(self) -> None:
        """The machine went down and came back: a new boot id, guests off, networks gone."""
        self._machine.boots += 1
        self._networking.clear()
        for record in self._domains.values():
            if record.get("power") not in (None, PowerState.SUSPENDED.value):
                record["power"] = PowerState.SHUTDOWN.value
        self.restart()

    def lose_journal(self) -> None:
        """The journal is gone, guests and images are not; the daemon starts with a new one."""
        self._journal.close()
        self._journal = self._new_journal()
        self.restart()

    # ------------------------------------------------------------------------ inside

    def failure(self, where: str) -> None:
        """Raise what `fail_next` asked for, if it did."""
        if failing := self._failing.get(where):
            raise failing.popleft()

    def _begin(self) -> HostService:
        service = HostService(
            Parts(
                journal=self._journal,
                images=self.images,
                guests=self.guests,
                networking=MemoryNetworking(self._networking),
                volumes=self.volumes,
                storage=(VolumeDriver(self.volumes), SnapshotDriver(self.volumes), self.exports),
                disks=self.disks,
                sampler=self.sampler,
                machine=self._machine,
                crash=NEVER,
                clock=self._clock,
                run_journal=self._in_place,
                run_driver=self._in_place,
            )
        )
        service.begin()
        return service

    def _new_journal(self) -> Journal:
        return Journal(None, clock=self._clock, new_id=self._new_id)

    async def _in_place(self, function: Callable[..., T], *args: Any) -> T:
        await asyncio.sleep(0)  # where the daemon would be in a thread, others get their turn
        for name in self._names(function, *args):
            if held := self._held.get(name):
                await held.wait()
            self.failure(name)
        return function(*args)

    def _names(self, function: Any, *args: Any) -> tuple[str, ...]:
        """By which `fail_next` and `hold` know a step or an act."""
        if args and isinstance(step := args[0], Step):
            return step.name, f"{function.__self__.kind}.{step.name}"
        return (args[0],) if function == self.guests.act else ()


class FakeConnection:
    """One connection to a FakeHost."""

    def __init__(self, host: FakeHost, service: HostService) -> None:
        self._host = host
        self._service = service
        self._session: Session | None = None
        self._broken = asyncio.Event()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._watch: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        return self._broken.is_set()

    def close(self) -> None:
        """Break the connection."""
        self._broken.set()
        self._events.put_nowait(None)
        if self._watch is not None:
            self._watch.cancel()

    async def call(self, name: str, body: Any) -> Any:
        """One of spec.CALLS except the streams: a wire value in (or its plain dict), a wire value out.

        Raises HostError; ConnectionResetError when the connection breaks, whatever becomes of the call.
        """
        if name not in CALLS:
            raise HostError(ErrorCode.PROTOCOL, f"unknown call {name}")
        asks, answers = CALLS[name]
        asked: Any = load(asks, _over_the_wire(body))
        return load(answers, _over_the_wire(await self._unless_broken(self._answer(name, asked))))

    async def events(self) -> AsyncIterator[Event]:
        """What `watch` brings, until the connection breaks."""
        while (event := await self._events.get()) is not None:
            yield load(Event, _over_the_wire(event))

    async def send_image(self, body: Receive, data: bytes) -> Received:
        """The `receive` call and its stream: `data` is the whole image, of which the missing part is sent."""
        self._check("receive")

        async def send() -> Received:
            await asyncio.sleep(0)
            with self._host.images.receive(body) as incoming:
                if not incoming.complete:
                    incoming.write(memoryview(data)[incoming.offset :])
                return incoming.finish()

        return await self._unless_broken(send())

    async def console(self, body: Console) -> FakeConsole:
        """The `console` call and its stream. Raises HostError(NOT_FOUND)."""
        self._check("console")
        await self._service.console(body.uuid)
        ours, theirs = socket.socketpair()
        return FakeConsole(Connection(ours), Connection(theirs), Consoles(self._service.console), body)

    async def _answer(self, name: str, asked: Any) -> Any:
        self._host.failure(name)
        if name == "hello":
            self._session, reply = await self._service.hello(asked)
            return reply
        session = self._check(name)
        if name == "metrics":
            self._host.sampler.sample()
        if name == "watch":
            self._watch = asyncio.get_running_loop().create_task(self._push(asked))
            return Empty()
        return await self._service.call(session, name, asked)

    async def _push(self, asked: Any) -> None:
        async for event in self._service.watch(asked):
            self._events.put_nowait(event)

    def _check(self, name: str) -> Session:
        if self._session is None:
            raise HostError(ErrorCode.PROTOCOL, f"{name} before hello")
        self._service.check(self._session, name)
        return self._session

    async def _unless_broken(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.get_running_loop().create_task(work)
        broken = asyncio.get_running_loop().create_task(self._broken.wait())
        try:
            await asyncio.wait([task, broken], return_when=asyncio.FIRST_COMPLETED)
            if self.closed:
                raise ConnectionResetError("the connection to the host broke")
            return await task
        finally:
            task.cancel()
            broken.cancel()


class FakeConsole:
    """A console's stream, as the client sees it."""

    def __init__(self, ours: Connection, theirs: Connection, consoles: Consoles, body: Console) -> None:
        self._ours = ours
        self._theirs = theirs
        self._attached = asyncio.create_task(consoles.attach(theirs, 0, body))
        self._replied = False

    async def read(self) -> bytes:
        """Some bytes of the guest's; empty at the end. Notes are passed over."""
        if not self._replied:
            self._replied = True
            await self._ours.read()
        while body := await self._ours.read():
            said = console_frame(body, ConsoleNote)
            if isinstance(said, bytes):
                return said
        return b""

    async def write(self, data: bytes) -> None:
        """Type into the guest."""
        await self._ours.write(bytes_frame(data))

    async def close(self) -> None:
        """Detach."""
        await self._ours.write(frame(b""))
        await self._attached
        self._ours.close()
        self._theirs.close()


def _host_sample(has: Capacity, clock: Callable[[], float]) -> HostSample:
    """A tenth of the host is busy."""
    at_us = int(clock() * 1_000_000)
    return HostSample(
        at_us=at_us,
        cpu_busy_ns=at_us * 100 * has.vcpus,
        cpus=has.vcpus,
        memory_used=(has.ram_mb - has.ram_free_mb) << 20,
        memory_total=has.ram_mb << 20,
        disk_used=(has.disk_gb - has.disk_free_gb) << 30,
        disk_total=has.disk_gb << 30,
        load1=has.load1,
        net_rx_bytes=at_us // 10,
        net_tx_bytes=at_us // 20,
    )


def _over_the_wire(value: Any) -> Any:
    return json.loads(json.dumps(value if isinstance(value, dict) else dump(value)))
