"""All hosts of the cloud, held connected: one link and one bulk link each, for as long as the engine runs.

What a host says by itself goes to its `Listener`; what steps ask of it goes through `HostHandle`, where the wire's
errors become the operation's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

from core.config import Config
from core.errors import HostFailed, NotFound, Unavailable
from core.hosts.bulk import BulkLink, ConsoleStream, Extent, TunnelStream
from core.hosts.enroll.keys import ssh_target
from core.hosts.enroll.layout import Layout
from core.hosts.hosts import Host
from core.hosts.link import Link, LinkState, LinkStatus
from core.hosts.transport import SshTarget, SshTransport, Transport, UnixTransport
from core.images.fanout import FanOut, Way
from core.images.stores import Stores
from core.runner import Runner
from core.sql import select
from hostd.spec import (
    TRANSIENT,
    Connect,
    Event,
    HelloReply,
    HostError,
    Observation,
    Observe,
    Read,
    Reading,
    Streamed,
    Write,
)

_log = logging.getLogger(__name__)

PATIENCE = 3.0
"""Seconds a step waits for a host that is not connected before it lets go of its turn."""

OBSERVE_DEADLINE = 30.0

_CHANGES = frozenset({"apply", "act"})


class Listener(Protocol):
    """Who hears of hosts: the reconciler."""

    async def connected(self, host: HostHandle, hello: HelloReply) -> None: ...

    async def disconnected(self, host_id: str, reason: str) -> None: ...

    async def event(self, host: HostHandle, event: Event) -> None: ...


def failed(error: HostError, name: str) -> HostFailed:
    """A host's error as the operation keeps it."""
    hint = error.error.hint
    return HostFailed(
        f"host {name}: {error}",
        hint=hint,
        code=error.code.value,
        transient=error.code in TRANSIENT,
    )


class HostHandle:
    """One host, as operations speak to it. core.operations.work.HostLink."""

    def __init__(self, row: Host, *, link: Link, bulk: BulkLink, images: Stores, fanout: FanOut) -> None:
        self.id = row.id
        self.name = row.name
        self.way = None if row.socket else Way(address=row.address, port=row.port, host_key=row.host_key)
        self.link = link
        self._bulk = bulk
        self._images = images
        self._fanout = fanout
        self._holds: set[str] = set()
        """Images known to be in its cache."""
        self._carrying: dict[str, asyncio.Lock] = {}
        self._introduced = asyncio.Event()

    def connected(self) -> None:
        """The link came up: until `introduced`, nothing new is asked of the host."""
        self._introduced.clear()

    def introduced(self) -> None:
        """The host was told what it shall hold. A list older than a guest would have that guest quarantined."""
        self._introduced.set()

    @property
    def up(self) -> bool:
        return self.link.status.state is LinkState.UP

    async def call(self, call: str, body: Any, *, deadline: float) -> Any:
        try:
            if not self.up:
                await self.link.wait_up(PATIENCE)
            if call in _CHANGES:
                await self._wait_introduced()
            return await self.link.call_until_known(call, body, deadline=deadline)
        except HostError as error:
            raise failed(error, self.name) from error
        except Unavailable as down:
            raise Unavailable(f"host {self.name}: {down.title}", hint=down.hint) from down

    async def _wait_introduced(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._introduced.wait()
        except TimeoutError:
            raise Unavailable("it is still being told what it shall hold") from None

    async def carry(self, digest: str, size: int, progress: Callable[[int], None]) -> None:
        # Twenty creates of one image at once carry it once: the others wait, and then find it there.
        async with self._carrying.setdefault(digest, asyncio.Lock()):
            if digest in self._holds:
                progress(size)
                return
            await self._fanout.bring(
                self, digest, size, carry=lambda: self._send_image(digest, progress), progress=progress
            )

    async def _send_image(self, digest: str, progress: Callable[[int], None]) -> None:
        """From the controller itself."""
        try:
            # From an object store it may have to be fetched first.
            path = await asyncio.to_thread(self._images.path, digest)
            await self._bulk.send_image(path, digest, progress=lambda sent, total: progress(sent))
        except HostError as error:
            raise failed(error, self.name) from error
        except NotFound as gone:
            raise HostFailed(
                f"image {digest[:12]} is not in the controller's store", hint="Add the image again."
            ) from gone

    def has_image(self, digest: str) -> bool:
        return digest in self._holds

    def got_image(self, digest: str) -> None:
        self._holds.add(digest)

    def forget_image(self, digest: str) -> None:
        self._holds.discard(digest)

    def knows_images(self, digests: set[str]) -> None:
        """What an observation saw in its cache."""
        self._holds = digests

    async def observe(self, *, stats: bool = True) -> Observation:
        seen: Observation = await self.call("observe", Observe(stats=stats), deadline=OBSERVE_DEADLINE)
        return seen

    @contextlib.asynccontextmanager
    async def console(self, uuid: str, *, write: bool, who: str = "") -> AsyncIterator[ConsoleStream]:
        try:
            async with self._bulk.console(uuid, write=write, who=who) as stream:
                yield stream
        except HostError as error:
            raise failed(error, self.name) from error

    @contextlib.asynccontextmanager
    async def tunnel(self, asked: Connect) -> AsyncIterator[TunnelStream]:
        try:
            async with self._bulk.tunnel(asked) as stream:
                yield stream
        except HostError as error:
            raise failed(error, self.name) from error

    @contextlib.asynccontextmanager
    async def read(self, asked: Read) -> AsyncIterator[tuple[Reading, AsyncIterator[Extent]]]:
        try:
            async with self._bulk.read_extents(asked) as stream:
                yield stream
        except HostError as error:
            raise failed(error, self.name) from error

    async def write(self, asked: Write, extents: AsyncIterable[Extent]) -> Streamed:
        try:
            return await self._bulk.write_extents(asked, extents)
        except HostError as error:
            raise failed(error, self.name) from error

    async def close(self) -> None:
        await self.link.close()
        await self._bulk.close()


class HostPool:
    """The hosts of the store, each with its links. core.operations.work.Hosts."""

    def __init__(
        self, runner: Runner, config: Config, listener: Listener, *, cloud: str, term: int, images: Stores
    ) -> None:
        self._runner = runner
        self._config = config
        self._listener = listener
        self._cloud = cloud
        self._term = term
        self._images = images
        self._fanout = FanOut(self.all)
        self._handles: dict[str, HostHandle] = {}
        self._addresses: dict[str, tuple[Any, ...]] = {}
        self._news: set[asyncio.Task[None]] = set()

    def get(self, host_id: str) -> HostHandle:
        try:
            return self._handles[host_id]
        except KeyError:
            raise Unavailable(f"host {host_id} is not connected", hint="skydeck host list shows why.") from None

    def all(self) -> list[HostHandle]:
        return list(self._handles.values())

    async def refresh(self) -> None:
        """Make the links match the store: new hosts are connected, changed ones again, removed ones let go."""
        rows = await self._runner.read(lambda session: list(session.execute(select(Host)).scalars()))
        wanted = {row.id: row for row in rows}
        for host_id in [host_id for host_id in self._handles if host_id not in wanted]:
            await self._drop(host_id)
        for row in rows:
            address = (row.address, row.port, row.ssh_user, row.host_key, row.socket, row.name)
            if self._addresses.get(row.id) == address:
                continue
            if row.id in self._handles:
                await self._drop(row.id)
            self._addresses[row.id] = address
            self._connect(row)

    def _connect(self, row: Host) -> None:
        target: SshTarget | Path
        transport: Transport
        if row.socket:
            target = Path(row.socket)
            # Where no service manager brings a killed hostd back, its own relay does.
            transport = UnixTransport(target, starter=(Layout().program, "relay"))
        else:
            target = ssh_target(self._config, address=row.address, port=row.port, host_key=row.host_key)
            transport = SshTransport(target)

        async def on_event(event: Event) -> None:
            await self._listener.event(self._handles[row.id], event)

        link = Link(
            transport,
            cloud=self._cloud,
            term=self._term,
            host=row.id,
            on_event=on_event,
            on_state=lambda status: self._state_changed(row.id, status),
            from_seq=row.event_seq,
            journal=row.journal_id or None,
        )
        bulk = BulkLink(target, cloud=self._cloud, term=self._term, host=row.id)
        self._handles[row.id] = HostHandle(row, link=link, bulk=bulk, images=self._images, fanout=self._fanout)
        link.start()

    def _state_changed(self, host_id: str, status: LinkStatus) -> None:
        handle = self._handles.get(host_id)
        if handle is None:
            return
        if status.state is LinkState.UP:
            handle.connected()
            assert handle.link.hello is not None
            self._tell(self._listener.connected(handle, handle.link.hello))
        elif status.state in (LinkState.DOWN, LinkState.ENDED):
            self._tell(self._listener.disconnected(host_id, status.reason))

    def _tell(self, news: Any) -> None:
        task = asyncio.ensure_future(news)
        self._news.add(task)
        task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._news.discard(task)
        if not task.cancelled() and (broke := task.exception()):
            _log.error("news of a host were not taken in: %s", broke, exc_info=broke)

    async def _drop(self, host_id: str) -> None:
        self._addresses.pop(host_id, None)
        handle = self._handles.pop(host_id)
        await handle.close()

    async def close(self) -> None:
        await asyncio.gather(*(handle.close() for handle in self._handles.values()))
        for task in self._news:
            task.cancel()
        await asyncio.gather(*self._news, return_exceptions=True)
        self._handles.clear()
