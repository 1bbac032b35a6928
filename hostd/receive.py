"""Taking an image in: a thread per stream, hashing and writing one frame while the next arrives."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import attrs

from hostd.cache import ImageCache, Incoming
from hostd.connection import Blocking, Connection
from hostd.spec import MAX_FRAME, ErrorCode, HostError, Receive, Received, Receiving, Reply, dump

BUFFERS: Final = 3
"""Buffers in flight between the socket and the disk: 15 MiB a stream."""

GATHER: Final = 1 << 20
"""Bytes of small frames that are worth waking the writer for."""

PATIENCE: Final = 10.0
"""Seconds without a byte after which a stream gives way to a newer one for the same image."""


@attrs.define
class _Stream:
    """One running receive."""

    connection: Connection
    fed: float
    """Monotonic time of the last bytes."""


class Receiver:
    """Gives each digest one stream at a time. Lives on the event loop."""

    def __init__(self, images: ImageCache, *, patience: float = PATIENCE) -> None:
        self._images = images
        self._patience = patience
        self._streams: dict[str, _Stream] = {}
        self._ended = asyncio.Condition()
        self._threads = ThreadPoolExecutor(thread_name_prefix="receive")

    async def receive(self, connection: Connection, request: int, asked: Receive) -> bool:
        """Answer a `receive` call and take the stream that follows it.

        A second stream for the same image waits for the first, or takes the place of a stalled one.
        Returns whether the connection is fit for further calls.
        """
        async with self._turn(connection, asked.digest) as stream:
            lent = connection.lend()
            try:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, self._take, lent, request, asked, stream)
            finally:
                connection.take_back()

    @contextlib.asynccontextmanager
    async def _turn(self, connection: Connection, digest: str) -> AsyncIterator[_Stream]:
        async with self._ended:
            while (other := self._streams.get(digest)) is not None:
                left = other.fed + self._patience - time.monotonic()
                if left <= 0:
                    other.connection.cut()
                    left = self._patience
                try:
                    await asyncio.wait_for(self._ended.wait(), left)
                except TimeoutError:
                    continue
            stream = self._streams[digest] = _Stream(connection, time.monotonic())
        try:
            yield stream
        finally:
            async with self._ended:
                del self._streams[digest]
                self._ended.notify_all()

    def _take(self, lent: Blocking, request: int, asked: Receive, stream: _Stream) -> bool:
        try:
            with self._images.receive(asked) as incoming:
                lent.send(Reply(id=request, ok=dump(Receiving(offset=incoming.offset))))
                _drain(lent, incoming, stream)
                received: Received = incoming.finish()
        except HostError as bad:
            return _refuse(lent, request, bad)
        except ConnectionError:
            return False  # gone; what came is kept
        except OSError as bad:
            return _refuse(lent, request, HostError(ErrorCode.INTERNAL, f"the image cannot be written: {bad}"))
        lent.send(Reply(id=request, ok=dump(received)))
        return True


def _refuse(lent: Blocking, request: int, bad: HostError) -> bool:
    # Where in the stream the client is nobody knows: the connection ends with the error.
    with contextlib.suppress(ConnectionError):
        lent.send(Reply(id=request, error=bad.error))
        lent.end(PATIENCE, memoryview(bytearray(MAX_FRAME)))
    return False


def _drain(lent: Blocking, incoming: Incoming, stream: _Stream) -> None:
    buffers = [memoryview(bytearray(GATHER + MAX_FRAME)) for _ in range(BUFFERS)]
    writing: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="image") as writer:
        for buffer in itertools.cycle(buffers):
            while writing and (len(writing) == BUFFERS or writing[0].done()):
                writing.popleft().result()
            filled, more = 0, True
            try:
                while more and filled < GATHER:
                    more = bool(size := len(lent.read_into(buffer[filled:])))
                    filled += size
                    stream.fed = time.monotonic()
            finally:
                # Also when the client is gone: what came need not come again.
                if filled:
                    writing.append(writer.submit(incoming.write, buffer[:filled]))
            if not more:
                break
        while writing:
            writing.popleft().result()
