"""A guest's display, handed out as an address of this machine for one viewer.

The address is a ticket as well: it takes one connection, of the same user of this machine (or root), within a short
time, and is gone then.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

WAITS: Final = 120.0
"""Seconds until a viewer has to have come."""

ADDRESS: Final = "127.0.0.1"

_TCP: Final = Path("/proc/net/tcp")

Viewed = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Handout:
    """One address. `port` is known once it was opened."""

    def __init__(self, viewed: Viewed, *, waits: float = WAITS) -> None:
        """`viewed` is the connection of the one viewer; it is closed when that returns."""
        self._viewed = viewed
        self._waits = waits
        self._came: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] | None = None
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> None:
        """Raises OSError."""
        self._came = asyncio.get_running_loop().create_future()
        self._server = await asyncio.start_server(self._knocked, ADDRESS, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def serve(self) -> bool:
        """Until the viewer has gone; False when none came in time."""
        assert self._came is not None
        assert self._server is not None
        try:
            async with asyncio.timeout(self._waits):
                reader, writer = await self._came
        except TimeoutError:
            return False
        finally:
            self._server.close()
        try:
            await self._viewed(reader, writer)
        finally:
            writer.close()
        return True

    async def _knocked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._came is not None
        mine = (0, os.getuid())
        if self._came.done() or owner(writer.get_extra_info("peername")[1], self.port) not in mine:
            writer.close()
            return
        self._came.set_result((reader, writer))


def url(address: str, port: int) -> str:
    """As viewers take it."""
    return f"vnc://{address}:{port}"


def owner(near: int, far: int, table: Path = _TCP) -> int | None:
    """The user id of the local socket on port `near` that is connected to port `far` (proc(5), net/tcp); None when
    there is none."""
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == near and int(fields[2].rpartition(":")[2], 16) == far:
            return int(fields[7])
    return None
