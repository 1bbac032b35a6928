"""The bulk calls `read` and `write` over a lent connection: a thread per stream."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from hostd.connection import Blocking, Connection
from hostd.spec import (
    MAX_FRAME,
    ErrorCode,
    HostError,
    Read,
    Reading,
    Reply,
    Streamed,
    Write,
    Writing,
    dump,
)
from hostd.streams.disks import Chunk, Disks, Writer

THREADS: Final = 16

PATIENCE: Final = 10.0
"""Seconds for which bytes are still swallowed after an error, so that the client comes to read it."""

LABEL: Final = 16
"""Bytes of offset and length at the beginning of a frame."""

SMALLEST: Final = 4096
LARGEST: Final = MAX_FRAME - LABEL


class Streams:
    """Lives on the event loop."""

    def __init__(self, disks: Disks) -> None:
        self._disks = disks
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="stream")
        self._writers: dict[str, tuple[Connection, asyncio.Event]] = {}
        """By volume: who writes it, and what tells that it has stopped."""

    async def read(self, connection: Connection, request: int, asked: Read) -> bool:
        """Answer a `read` call and stream what it asks for. Whether the connection is fit for further calls."""
        return await self._lent(connection, _Reading(self._disks, request, asked))

    async def write(self, connection: Connection, request: int, asked: Write) -> bool:
        """Answer a `write` call and take the stream that follows. Whether the connection is fit for further calls.

        Who asks to write a volume again has given up the stream of before: that one is cut, and waited for.
        """
        while (other := self._writers.get(asked.volume)) is not None:
            other[0].cut()
            await other[1].wait()
        ended = asyncio.Event()
        self._writers[asked.volume] = (connection, ended)
        try:
            return await self._lent(connection, _Writing(self._disks, request, asked))
        finally:
            del self._writers[asked.volume]
            ended.set()

    async def _lent(self, connection: Connection, stream: _Reading | _Writing) -> bool:
        lent = connection.lend()
        running = asyncio.get_running_loop().run_in_executor(self._threads, stream, lent)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # The thread finds its client gone, and the disk is closed before anybody else may want it.
            connection.cut()
            await asyncio.wait([running])
            raise
        finally:
            connection.take_back()


class _Reading:
    def __init__(self, disks: Disks, request: int, asked: Read) -> None:
        self._disks = disks
        self._request = request
        self._asked = asked

    def __call__(self, lent: Blocking) -> bool:
        begun = False
        try:
            try:
                if not SMALLEST <= self._asked.chunk <= LARGEST:
                    raise HostError(
                        ErrorCode.PROTOCOL, f"chunks have {SMALLEST} to {LARGEST} bytes, not {self._asked.chunk}"
                    )
                with self._disks.reading(self._asked) as disk:
                    reading = Reading(size=disk.size, since=disk.since)
                    lent.send(Reply(id=self._request, ok=dump(reading)))
                    begun, count = True, 0
                    for chunk in disk.chunks(self._asked.chunk, self._asked.begin):
                        send(lent, chunk)
                        count += chunk.length if chunk.data is not None else 0
                end = Reply(id=self._request, ok=dump(Streamed(bytes=count)))
            except HostError as bad:
                end = Reply(id=self._request, error=bad.error)
            if begun:
                lent.send_raw()
            lent.send(end)
        except OSError:
            return False  # gone; the disk is closed by now
        return True


class _Writing:
    def __init__(self, disks: Disks, request: int, asked: Write) -> None:
        self._disks = disks
        self._request = request
        self._asked = asked

    def __call__(self, lent: Blocking) -> bool:
        begun = False
        try:
            with self._disks.writing(self._asked) as disk:
                lent.send(Reply(id=self._request, ok=dump(Writing(size=disk.size))))
                begun = True
                count = _take(lent, disk)
                disk.flush()
            # Not before it is closed: the caller may want to open it at once.
            lent.send(Reply(id=self._request, ok=dump(Streamed(bytes=count))))
        except HostError as bad:
            with contextlib.suppress(OSError):
                lent.send(Reply(id=self._request, error=bad.error))
                if begun:
                    # Where in the stream the client is nobody knows: the connection ends with the error.
                    lent.end(PATIENCE, memoryview(bytearray(MAX_FRAME)))
                return not begun
            return False
        except OSError:
            return False  # gone; what came is written, and the next attempt writes it again
        return True


def _take(lent: Blocking, disk: Writer) -> int:
    """Write what comes until the empty frame; how many bytes of data it was."""
    buffer = memoryview(bytearray(MAX_FRAME))
    count = 0
    while body := lent.read_into(buffer):
        if len(body) < LABEL:
            raise HostError(ErrorCode.PROTOCOL, f"a frame of {len(body)} bytes names no range")
        offset, length = int.from_bytes(body[:8], "big"), int.from_bytes(body[8:LABEL], "big")
        data = body[LABEL:]
        if len(data) not in (0, length) or not length:
            raise HostError(ErrorCode.PROTOCOL, f"a frame for {length} bytes holds {len(data)}")
        if offset + length > disk.size:
            raise HostError(ErrorCode.BAD_STATE, f"the volume has {disk.size} bytes, byte {offset + length} was sent")
        if data:
            disk.write(offset, data)
            count += length
        else:
            disk.zero(offset, length)
    return count


def send(lent: Blocking, chunk: Chunk) -> None:
    """One frame of a stream."""
    label = chunk.offset.to_bytes(8, "big") + chunk.length.to_bytes(8, "big")
    lent.send_raw(label, *(() if chunk.data is None else (chunk.data,)))
