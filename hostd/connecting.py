"""Byte streams into guests, carried over the host link: to a port, from inside their network, or to their display."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from hostd.connection import Connection
from hostd.spec import Connect, Empty, Reply, dump, frame

_READ: Final = 64 * 1024

Dial = Callable[[Connect], Awaitable[socket.socket]]
"""Raises HostError."""


async def carry(connection: Connection, request: int, asked: Connect, dial: Dial) -> None:
    """Answer a `connect` call and carry bytes both ways until either side has gone, or both have ended.

    Raises HostError before anything was sent; OSError when the client has gone.
    """
    far = await dial(asked)
    with far:
        far.setblocking(False)
        await connection.send(Reply(id=request, ok=dump(Empty())))
        back = asyncio.create_task(_back(far, connection))
        try:
            await _there(connection, far)
            # The client has ended its direction, or has gone: what comes back is for it as long as it listens.
            await back
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)


async def _there(connection: Connection, far: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while data := await connection.read():
            await loop.sock_sendall(far, data)
        if data is None:
            far.shutdown(socket.SHUT_RDWR)  # gone: nobody will read what comes back
        else:
            far.shutdown(socket.SHUT_WR)


async def _back(far: socket.socket, connection: Connection) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):  # either has gone: the other direction sees that too
        while data := await loop.sock_recv(far, _READ):
            await connection.write(frame(data))
    with contextlib.suppress(OSError):
        await connection.write(frame(b""))
