"""The engine and the reconciler in this process, over hosts in memory. Waiting is for commits, never for time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any, TypeVar

from sqlmodel import Session

from core import cloud
from core.compute.instances.table import Instance
from core.crash import CrashPoints
from core.errors import HostFailed, Unavailable
from core.hosts.bulk import Extent
from core.hosts.pool import failed
from core.hosts.reconcile import Reconciler
from core.operations.engine import Engine
from core.operations.operations import OPEN, Operation
from core.runner import Runner
from hostd.fake import FakeConnection, FakeHost
from hostd.spec import (
    PROTOCOL,
    Hello,
    HelloReply,
    HostError,
    Observation,
    Observe,
    PowerState,
    Read,
    Reading,
    Streamed,
    Watch,
    Write,
)
from hostd.streams import Reader
from tests.core.world import World

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds until a test gives up."""

CONTENTS = {hashlib.sha256(data).hexdigest(): data for data in (b"bytes", b"kernel", b"ramdisk")}
"""What images hold, by digest."""


class WatchedRunner(Runner):
    """Tells of every commit."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.committed = asyncio.Condition()

    async def write(self, verb: Callable[[Session], T]) -> T:
        result = await super().write(verb)
        async with self.committed:
            self.committed.notify_all()
        return result


class FakeLink:
    """core.operations.work.HostLink over a FakeHost: asks again after a cut, as the real link does."""

    def __init__(self, fake: FakeHost, name: str) -> None:
        self.fake = fake
        self.id = fake.uuid
        self.name = name
        self.up = False
        self.connection: FakeConnection | None = None
        self.carried: list[str] = []
        self.carrying = asyncio.Event()
        self.may_carry = asyncio.Event()
        self.may_carry.set()
        self.calls: list[str] = []
        self._holds: set[str] = set()
        self._introduced = asyncio.Event()

    def introduced(self) -> None:
        self._introduced.set()

    async def hello(self, cloud_id: str, term: int) -> HelloReply:
        self._introduced.clear()
        self.connection = self.fake.connect()
        reply: HelloReply = await self.connection.call(
            "hello", Hello(protocol=PROTOCOL, cloud=cloud_id, term=term, host=self.id)
        )
        return reply

    async def call(self, call: str, body: Any, *, deadline: float) -> Any:
        if not self.up or self.connection is None:
            raise Unavailable(f"host {self.name}: no route to it")
        self.calls.append(call)
        if call in ("apply", "act"):
            await self._introduced.wait()
        try:
            return await self.connection.call(call, body)
        except ConnectionResetError:
            raise Unavailable(f"host {self.name}: cut") from None
        except HostError as error:
            raise failed(error, self.name) from error

    async def carry(self, digest: str, size: int, progress: Callable[[int], None]) -> None:
        if not self.up:
            raise Unavailable(f"host {self.name}: no route to it")
        self.carrying.set()
        await self.may_carry.wait()
        if digest not in CONTENTS:
            raise HostFailed("image is not in the controller's store")
        if digest not in self._holds:
            self.fake.put_image(CONTENTS[digest])
            self.carried.append(digest)
            self._holds.add(digest)
        progress(size)

    def forget_image(self, digest: str) -> None:
        self._holds.discard(digest)

    def knows_images(self, digests: set[str]) -> None:
        self._holds = digests

    async def observe(self, *, stats: bool = True) -> Observation:
        seen: Observation = await self.call("observe", Observe(stats=stats), deadline=1)
        return seen

    @contextlib.asynccontextmanager
    async def read(self, asked: Read) -> AsyncIterator[tuple[Reading, AsyncIterator[Extent]]]:
        if not self.up:
            raise Unavailable(f"host {self.name}: no route to it")
        try:
            with self.fake.disks.reading(asked) as disk:
                yield Reading(size=disk.size, since=disk.since), _extents(disk, asked)
        except HostError as error:
            raise failed(error, self.name) from error

    async def write(self, asked: Write, extents: AsyncIterable[Extent]) -> Streamed:
        if not self.up:
            raise Unavailable(f"host {self.name}: no route to it")
        try:
            with self.fake.disks.writing(asked) as disk:
                count = 0
                async for extent in extents:
                    if extent.data is None:
                        disk.zero(extent.offset, extent.length)
                    else:
                        disk.write(extent.offset, memoryview(extent.data))
                        count += extent.length
                disk.flush()
                return Streamed(bytes=count)
        except HostError as error:
            raise failed(error, self.name) from error

    def power(self, uuid: str) -> PowerState | None:
        """What the guest is on the host; None when it is not there."""
        record = self.fake.guests.seen(uuid) or {}
        return PowerState(record["power"]) if record.get("power") else None


async def _extents(disk: Reader, asked: Read) -> AsyncIterator[Extent]:
    for told in disk.chunks(asked.chunk, asked.begin):
        await asyncio.sleep(0)
        yield Extent(told.offset, told.length, told.data)


class Rig:
    """One controller. `hosts` by name."""

    def __init__(self, world: World, *, owner: str = "engine", hosts: dict[str, FakeLink] | None = None) -> None:
        self.world = world
        self.runner = WatchedRunner(world.store)
        self.hosts: dict[str, FakeLink] = hosts if hosts is not None else {}
        self.reconciler = Reconciler(
            self.runner, interval=3600, progress=lambda uuid, percent: None, wake=lambda: self.engine.wake()
        )
        self.engine = Engine(self.runner, self, world.config, owner=owner, crash=CrashPoints(None))
        self._tasks: set[asyncio.Task[Any]] = set()
        self._running: asyncio.Task[None] | None = None

    def get(self, host_id: str) -> FakeLink:
        for link in self.hosts.values():
            if link.id == host_id:
                return link
        raise Unavailable(f"host {host_id} is not connected")

    # ------------------------------------------------------------------ hosts

    async def add(self, name: str = "h1", **room: Any) -> FakeLink:
        """A host, enrolled and connected."""
        link = FakeLink(FakeHost(name=name), name)
        self.world.host(name, id=link.id, up=False, **room)
        self.hosts[name] = link
        await self.connect(link)
        return link

    async def connect(self, link: FakeLink) -> None:
        """As the pool does when a link comes up: sync, look, then events."""
        with self.world.store.read() as session:
            identity = cloud.identity(session)
        hello = await link.hello(identity, 1)
        link.up = True
        await self.reconciler.connected(link, hello)  # type: ignore[arg-type]
        assert link.connection is not None
        await link.connection.call("watch", Watch(from_seq=0))
        self._spawn(self._listen(link, link.connection))

    async def disconnect(self, link: FakeLink, reason: str = "cable") -> None:
        link.up = False
        link.fake.cut()
        await self.reconciler.disconnected(link.id, reason)

    async def _listen(self, link: FakeLink, connection: FakeConnection) -> None:
        async for event in connection.events():
            with contextlib.suppress(Unavailable):
                await self.reconciler.event(link, event)  # type: ignore[arg-type]

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        self._running = asyncio.ensure_future(self.engine.run())

    async def stop(self) -> None:
        await self.engine.stop()
        if self._running is not None:
            await self._running
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self.hosts.values():
            link.fake.cut()
            link.fake.guests.stop()
        self.runner.close()

    # ------------------------------------------------------------------ waiting

    async def until(self, happened: Callable[[], T]) -> T:
        """The first true answer; asked again after every commit."""
        async with asyncio.timeout(PATIENCE):
            while True:
                async with self.runner.committed:
                    if answer := happened():
                        return answer
                    with contextlib.suppress(TimeoutError):
                        # Others commit as well: the test itself, a second engine.
                        await asyncio.wait_for(self.runner.committed.wait(), 0.1)

    async def ended(self, operation: Operation) -> Operation:
        """The operation, once it has ended or is blocked."""
        self.engine.wake()

        def over() -> Operation | None:
            row = self.world.operation(operation.id)
            return row if row.state not in ("ready", "running") else None

        found = await self.until(over)
        assert found is not None
        return found

    async def idle(self) -> None:
        """Until no operation is open."""
        self.engine.wake()
        await self.until(lambda: not [row for row in self.world.operations() if row.state in OPEN])

    async def create(self, **spec: Any) -> Instance:
        """An instance whose create has ended."""
        created = self.world.create(**spec)
        for operation in created.operations:
            await self.ended(operation)
        return self.world.instance(created.instances[0].id)


@contextlib.asynccontextmanager
async def running(world: World, *, hosts: int = 1, **room: Any) -> AsyncIterator[Rig]:
    """A controller with hosts h1…, an image, and its engine running."""
    rig = Rig(world)
    for number in range(hosts):
        await rig.add(f"h{number + 1}", **room)
    world.image()
    rig.start()
    try:
        yield rig
    finally:
        await rig.stop()
