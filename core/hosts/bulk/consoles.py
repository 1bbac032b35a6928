"""Byte streams of the bulk connection that stay open: serial consoles, and ways into guests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from core.hosts.bulk.frames import CHUNK, Frames, Work
from core.hosts.ssh_master import SshStream
from hostd.spec import HEADER, MAX_FRAME, Connect, Console, ConsoleNote, HostError, bytes_frame, console_frame, frame


class FrameStream:
    """Raw frames both ways; what is in them is the caller's business."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def body(self) -> bytes:
        """The next frame's; empty when the host has ended its direction, or the connection is gone."""
        try:
            length = int.from_bytes(await self._reader.readexactly(HEADER), "big")
            return await self._reader.readexactly(length) if length <= MAX_FRAME else b""
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def send(self, data: bytes) -> None:
        """Whole frames. Raises ConnectionError when the connection is gone."""
        self._writer.write(data)
        await self._writer.drain()


class ConsoleStream(FrameStream):
    """A guest's serial port. Bytes and notes: see hostd.spec.consoles."""

    async def read(self) -> bytes:
        """The next bytes the guest wrote, notes passed over; empty when the console has ended, or the connection."""
        while body := await self.body():
            try:
                said = console_frame(body, ConsoleNote)
            except HostError:
                return b""
            if isinstance(said, bytes):
                return said
        return b""

    async def write(self, data: bytes) -> None:
        """Type `data`. Raises ConnectionError when the connection is gone."""
        for start in range(0, len(data), CHUNK):
            await self.send(bytes_frame(data[start : start + CHUNK]))


class TunnelStream(FrameStream):
    """A port of a guest."""

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError when the connection is gone."""
        for start in range(0, len(data), CHUNK):
            await self.send(frame(data[start : start + CHUNK]))

    async def end(self) -> None:
        """Nothing more is written; what comes back still does. Raises ConnectionError."""
        await self.send(frame(b""))


class Opening(Work):
    """A call that turns its connection into a stream."""

    def __init__(self, connect: Callable[[], Frames], call: str, asked: Console | Connect) -> None:
        super().__init__(connect)
        self._call = call
        self._asked = asked

    def __call__(self) -> SshStream:
        frames = self._open()
        try:
            frames.call(self._call, self._asked)
        except BaseException:
            frames.close()
            raise
        return frames.stream
