"""One host's bulk connection: what is asked of it, and the threads it is carried in."""

from __future__ import annotations

import asyncio
import contextlib
import random as _random
import socket
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from core.errors import Unknown
from core.hosts.bulk.consoles import ConsoleStream, Opening, TunnelStream
from core.hosts.bulk.extents import Extent, OpenReading, OpenWriting
from core.hosts.bulk.frames import Frames, Work
from core.hosts.bulk.images import Progress, Sending
from core.hosts.ssh_master import ConnectionCut, SshMaster, SshStream
from core.hosts.transport import SshTarget
from hostd.spec import (
    PROTOCOL,
    Connect,
    Console,
    ErrorCode,
    Hello,
    HelloReply,
    HostError,
    Read,
    Reading,
    Received,
    Streamed,
    Write,
    Writing,
)

TRIES: Final = 5
"""Attempts in a row that bring no byte forward before sending is given up."""

_PAUSE_FIRST: Final = 0.2
_PAUSE_MOST: Final = 5.0
_THREADS: Final = 16

_CALLED: Final = {"console": "console", "connect": "way into the guest"}

T = TypeVar("T")


class BulkLink:
    """One host's bulk connection. It connects when first used, and again when it was cut."""

    def __init__(
        self,
        target: SshTarget | Path,
        *,
        cloud: str,
        term: int,
        host: str,
        tries: int = TRIES,
        random: Callable[[], float] = _random.random,
    ) -> None:
        """`target` is hostd's UNIX socket for the local host."""
        self._master = SshMaster(target) if isinstance(target, SshTarget) else None
        self._socket = target if isinstance(target, Path) else None
        self._hello = Hello(protocol=PROTOCOL, cloud=cloud, term=term, host=host, purpose="bulk")
        self._tries = tries
        self._random = random
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"bulk-{host[:8]}")
        self._streams: set[Work] = set()
        """Of extents, that are open."""
        self._closed = False

    @property
    def master_pid(self) -> int | None:
        """The process that carries the bytes; None for the local host and while not connected."""
        return self._master.pid if self._master else None

    async def close(self) -> None:
        """End the connection; what is being sent or read ends as cut."""
        loop = asyncio.get_running_loop()
        self._closed = True
        for stream in self._streams:
            stream.abort()
        if self._master is not None:
            await loop.run_in_executor(self._threads, self._master.close)
        await asyncio.to_thread(self._threads.shutdown)

    async def send_image(self, path: Path, digest: str, *, progress: Progress | None = None) -> Received:
        """Carry the file at `path`, whose sha256 is `digest`, into the host's cache; it is verified there.

        Continues where an earlier attempt, perhaps of an earlier process, was cut. Returns at once what the host
        already holds. Raises HostError as the host raised it (DISK_FULL, DIGEST_MISMATCH), Unavailable where the keys
        do not fit, Unknown when TRIES attempts in a row brought nothing forward.
        """
        loop = asyncio.get_running_loop()
        told: Progress | None = None
        if progress is not None:
            wanted = progress

            def told(done: int, total: int) -> None:
                loop.call_soon_threadsafe(wanted, done, total)

        failures = 0
        furthest = -1
        while True:
            sending = Sending(self._connect, path, digest, progress=told)
            try:
                return await self._in_thread(sending)
            except ConnectionCut as cut:
                failures = failures + 1 if sending.offset <= furthest else 1
                furthest = max(furthest, sending.offset)
                if failures >= self._tries:
                    raise Unknown(
                        f"image {digest[:12]} could not be carried to the host: {cut}",
                        hint=f"{max(furthest, 0)} bytes are there; the next attempt continues",
                    ) from cut
            await asyncio.sleep(min(_PAUSE_MOST, _PAUSE_FIRST * 2**failures) * (0.5 + self._random()))

    @contextlib.asynccontextmanager
    async def console(
        self, uuid: str, *, write: bool = True, history: int = 2000, who: str = ""
    ) -> AsyncIterator[ConsoleStream]:
        """A guest's serial console, its last `history` bytes first. Several may watch at once; they are told of `who`.

        Raises HostError (NOT_FOUND), Unavailable, Unknown when there is no connection.
        """
        asked = Console(uuid=uuid, write=write, history=history, who=who)
        async with self._stream("console", asked) as (reader, writer):
            yield ConsoleStream(reader, writer)

    @contextlib.asynccontextmanager
    async def tunnel(self, asked: Connect) -> AsyncIterator[TunnelStream]:
        """Bytes to and from a port of a guest, or its display.

        Raises HostError (NOT_FOUND, BAD_STATE, NETWORK), Unavailable, Unknown when there is no connection.
        """
        async with self._stream("connect", asked) as (reader, writer):
            yield TunnelStream(reader, writer)

    @contextlib.asynccontextmanager
    async def _stream(
        self, call: str, asked: Console | Connect
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        opening = Opening(self._connect, call, asked)
        try:
            stream = await self._in_thread(opening)
        except ConnectionCut as cut:
            raise Unknown(f"no connection for the {_CALLED[call]}: {cut}", hint="try again") from cut
        stream.sock.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=stream.sock)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            await asyncio.get_running_loop().run_in_executor(self._threads, stream.close)

    @contextlib.asynccontextmanager
    async def read_extents(self, asked: Read) -> AsyncIterator[tuple[Reading, AsyncIterator[Extent]]]:
        """The contents of a disk, in order; nothing is read much further than it is taken. Leaving ends it.

        Raises HostError as the host raised it, Unavailable where the keys do not fit, Unknown when the connection was
        cut, also while the extents are taken.
        """
        stream = OpenReading(self._connect, asked)
        self._streams.add(stream)
        try:
            reading: Reading = await self._in_thread(stream)
            async with contextlib.aclosing(self._extents(stream)) as extents:
                yield reading, extents
        except ConnectionCut as cut:
            raise Unknown(f"the {asked.subject} could not be read to its end: {cut}", hint="try again") from cut
        finally:
            self._streams.discard(stream)
            stream.close()

    async def _extents(self, stream: OpenReading) -> AsyncGenerator[Extent, None]:
        # One is read ahead while the one before is worked on.
        coming = self._submit(stream.take)
        try:
            while (extent := await asyncio.shield(coming)) is not None:
                coming = self._submit(stream.take)
                yield extent
        finally:
            if not coming.done():
                stream.abort()
                with contextlib.suppress(ConnectionCut, HostError):
                    await coming
            elif not coming.cancelled():
                coming.exception()  # heard, also when nobody came to take it

    async def write_extents(self, asked: Write, extents: AsyncIterable[Extent]) -> Streamed:
        """Overwrite parts of a volume that nobody has open; all is on the disk when this returns.

        Raises HostError as the host raised it (BAD_STATE, DISK_FULL), Unavailable where the keys do not fit, Unknown
        when the connection was cut; and whatever `extents` raises.
        """
        stream = OpenWriting(self._connect, asked)
        self._streams.add(stream)
        try:
            _: Writing = await self._in_thread(stream)
            async for extent in extents:
                await self._in_thread(stream, stream.put, extent)
            return await self._in_thread(stream, stream.finish)
        except ConnectionCut as cut:
            raise Unknown(f"volume {asked.volume} could not be written to its end: {cut}", hint="try again") from cut
        finally:
            self._streams.discard(stream)
            stream.close()

    def _submit(self, call: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        if self._closed:
            raise ConnectionCut("the host was let go")
        return asyncio.get_running_loop().run_in_executor(self._threads, call, *args)

    async def _in_thread(self, work: Work, call: Callable[..., Any] | None = None, *args: Any) -> Any:
        """Run a blocking piece of work, or a part of it; a cancelled caller cuts its connection and waits until it is
        done."""
        running = self._submit(call or work, *args)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            work.abort()
            with contextlib.suppress(ConnectionCut, HostError):
                await running
            raise

    def _connect(self) -> Frames:
        """Blocking: a fresh connection that has said hello. Raises ConnectionCut, HostError, Unavailable."""
        if self._master is not None:
            stream = self._master.stream()
        else:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(str(self._socket))
            except OSError as bad:
                sock.close()
                raise ConnectionCut(f"hostd does not listen on {self._socket}") from bad
            stream = SshStream(sock)
        frames = Frames(stream)
        try:
            reply: HelloReply = frames.call("hello", self._hello)
            if reply.host != self._hello.host:
                raise HostError(ErrorCode.WRONG_HOST, f"this is host {reply.host}, not {self._hello.host}")
        except BaseException:
            frames.close()
            raise
        return frames
