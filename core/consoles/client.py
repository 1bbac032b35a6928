"""The client's side of what the door hands out for longer than one answer: a console, a log, a way into a guest."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from typing import Any

from hostd.spec import (
    HEADER,
    MAX_FRAME,
    Change,
    ConsoleNote,
    ConsoleWish,
    HostError,
    Wish,
    bytes_frame,
    console_frame,
    note_frame,
)

__all__ = ("Change", "Console", "ConsoleNote", "Log", "LogPart", "Tunnel")


class _Held:
    """A connection to the door."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Console(_Held):
    """An attached serial console."""

    async def next(self) -> bytes | ConsoleNote | None:
        """What the guest wrote, or a note of who may type; None when the console has ended. The first is a note."""
        try:
            length = int.from_bytes(await self._reader.readexactly(HEADER), "big")
            if not 0 < length <= MAX_FRAME:
                return None
            said: bytes | ConsoleNote = console_frame(await self._reader.readexactly(length), ConsoleNote)
            return said
        except (asyncio.IncompleteReadError, ConnectionError, HostError):
            return None

    async def read(self) -> bytes:
        """What the guest wrote; empty when the console has ended. Notes are passed over."""
        while (said := await self.next()) is not None:
            if isinstance(said, bytes):
                return said
        return b""

    async def write(self, data: bytes) -> None:
        """Type. Raises ConnectionError when the console has ended."""
        await self._send(bytes_frame(data))

    async def take(self) -> None:
        """Take the console over: from now on nobody else's keys reach the guest. Raises ConnectionError."""
        await self._send(note_frame(ConsoleWish(wish=Wish.TAKE)))

    async def release(self) -> None:
        """Share it again, after `take`. Raises ConnectionError."""
        await self._send(note_frame(ConsoleWish(wish=Wish.RELEASE)))

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class Tunnel(_Held):
    """Bytes to and from a port of a guest."""

    async def read(self) -> bytes:
        """Empty when the guest has ended its direction, or is gone."""
        try:
            return await self._reader.read(1 << 16)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError."""
        self._writer.write(data)
        await self._writer.drain()

    def end(self) -> None:
        """Nothing more is written; what comes back still does."""
        with contextlib.suppress(OSError):
            self._writer.write_eof()


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogPart:
    """Some of a console log."""

    text: str
    """A stranger's: for a terminal only after `safe_lines`."""
    whole: bool
    """It stands by itself; otherwise it goes on where the part before ended."""
    times: tuple[tuple[int, float], ...]
    """(line of `text`, from 0; seconds since the epoch): it and what follows it was written then, within seconds."""


class Log(_Held):
    """A console log that is read again and again: each time only what is new."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._cursor = ""
        self._asked = True

    async def read(self, lines: int) -> LogPart | None:
        """The last lines at first, then what came since; None when the connection has ended. Raises what the host says
        as a SkydeckError."""
        from core.door import refused

        try:
            if not self._asked:
                self._writer.write(json.dumps({"lines": lines, "after": self._cursor}).encode() + b"\n")
                await self._writer.drain()
            line = await self._reader.readline()
        except ConnectionError:
            return None
        if not line:
            return None
        self._asked = False
        answer: dict[str, Any] = json.loads(line)
        if error := answer.get("error"):
            raise refused(error)
        self._cursor = str(answer.get("cursor", ""))
        times = tuple((int(at), float(when)) for at, when in answer.get("times", ()))
        return LogPart(text=str(answer["text"]), whole=bool(answer.get("whole", True)), times=times)
