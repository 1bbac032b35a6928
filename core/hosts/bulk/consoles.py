"""Serial consoles: raw bytes both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from core.hosts.bulk.frames import CHUNK, Frames, Work
from core.hosts.ssh_master import SshStream
from hostd.spec import HEADER, MAX_FRAME, Console, frame


class ConsoleStream:
    """Raw bytes to and from a guest's serial port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """The next bytes the guest wrote; empty when the console has ended, or the connection."""
        try:
            length = int.from_bytes(await self._reader.readexactly(HEADER), "big")
            return await self._reader.readexactly(length) if length <= MAX_FRAME else b""
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def write(self, data: bytes) -> None:
        """Type `data`. Raises ConnectionError when the connection is gone."""
        for start in range(0, len(data), CHUNK):
            self._writer.write(frame(data[start : start + CHUNK]))
        await self._writer.drain()


class Opening(Work):
    def __init__(self, connect: Callable[[], Frames], asked: Console) -> None:
        super().__init__(connect)
        self._asked = asked

    def __call__(self) -> SshStream:
        frames = self._open()
        try:
            frames.call("console", self._asked)
        except BaseException:
            frames.close()
            raise
        return frames.stream
