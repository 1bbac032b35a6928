"""Contents of disks, from a host and to it, as extents in order."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import attrs

from core.errors import Failed
from core.hosts.bulk.frames import STALL, Frames, Work
from hostd.spec import ErrorCode, HostError, Read, Reading, Streamed, Write, Writing

_LABEL: Final = 16
"""Bytes of offset and length at the beginning of a frame."""

_OPENING: Final = 5 * STALL
"""Seconds a host may take to find out what changed."""

_FLUSHING: Final = 10 * STALL


@attrs.frozen
class Extent:
    """Bytes of a disk from `offset` on; without `data` they are all zeros."""

    offset: int
    length: int
    data: bytes | bytearray | None = None


class OpenReading(Work):
    """A `read` call. Calling it opens the stream, `take` goes through it; both block."""

    def __init__(self, connect: Callable[[], Frames], asked: Read) -> None:
        super().__init__(connect)
        self._asked = asked

    def __call__(self) -> Reading:
        frames = self._open()
        try:
            reading: Reading = frames.call("read", self._asked, patience=_OPENING)
            return reading
        except BaseException:
            frames.close()
            raise

    def take(self) -> Extent | None:
        """The next extent; None once the host has said that this was all. Raises HostError, ConnectionCut."""
        assert self._frames is not None
        body = self._frames.read_raw()
        if not body:
            self._frames.answer(Streamed)
            return None
        offset, length = int.from_bytes(body[:8], "big"), int.from_bytes(body[8:_LABEL], "big")
        if len(body) not in (_LABEL, _LABEL + length) or not length:
            raise HostError(ErrorCode.PROTOCOL, f"the host sent a frame for {length} bytes that has {len(body)}")
        if len(body) == _LABEL:
            return Extent(offset, length)
        del body[:_LABEL]  # in place: the front of a bytearray goes without a copy
        return Extent(offset, length, body)

    def close(self) -> None:
        if self._frames is not None:
            self._frames.close()


class OpenWriting(Work):
    """A `write` call. Calling it opens the stream, `put` and `finish` go through it; all block."""

    def __init__(self, connect: Callable[[], Frames], asked: Write) -> None:
        super().__init__(connect)
        self._asked = asked

    def __call__(self) -> Writing:
        frames = self._open()
        try:
            writing: Writing = frames.call("write", self._asked)
            return writing
        except BaseException:
            frames.close()
            raise

    def put(self, extent: Extent) -> None:
        """Raises HostError as the host raised it, ConnectionCut."""
        assert self._frames is not None
        if self._frames.answered():
            self._frames.answer(Streamed)
            raise HostError(ErrorCode.PROTOCOL, "the host ended the stream before its end")
        label = extent.offset.to_bytes(8, "big") + extent.length.to_bytes(8, "big")
        self._frames.send_raw(label, *(() if extent.data is None else (extent.data,)))

    def finish(self) -> Streamed:
        """All is sent: wait until it is on the disk."""
        assert self._frames is not None
        self._frames.send_raw()
        streamed: Streamed = self._frames.answer(Streamed, patience=_FLUSHING)
        return streamed

    def close(self) -> None:
        if self._frames is not None:
            self._frames.close()


async def save_extents(
    path: Path, reading: Reading, extents: AsyncIterator[Extent], progress: Callable[[int, int], None]
) -> None:
    """Write a whole disk as the raw file `path`, with holes for its zeros; what was there is replaced.

    `progress` is told (bytes gone through, bytes in all). The file is on the disk when this returns, and gone when it
    raises: Failed when there is no room, and whatever the stream raises.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.truncate(descriptor, reading.size)
        async for extent in extents:
            if extent.data is not None:
                await asyncio.to_thread(_write, descriptor, extent.data, extent.offset)
            progress(extent.offset + extent.length, reading.size)
        await asyncio.to_thread(os.fsync, descriptor)
    except BaseException as bad:
        os.unlink(path)
        if isinstance(bad, OSError) and bad.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Failed(
                f"no room for {reading.size} bytes in {path.parent}", hint="Free some space on the controller."
            ) from bad
        raise
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes | bytearray, offset: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written
