"""Serial consoles: one reader of a guest's socket, as many watchers as like.

QEMU's socket takes one client at a time and goes away with the guest's process; the hub hides both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from hostd.connection import Connection
from hostd.drivers import ConsolePaths
from hostd.spec import Console, Empty, ErrorCode, HostError, Reply, dump, frame

BACKLOG: Final = 1 << 20
"""Bytes a slow watcher may lag behind before it misses some; a screenful is 2 kB."""

RETRY: Final = 0.2
"""Seconds between looks for the socket of a guest that is not running."""

_READ: Final = 16 * 1024


class Consoles:
    """Lives on the event loop."""

    def __init__(self, find: Callable[[str], Awaitable[ConsolePaths]]) -> None:
        """`find` tells where a guest's console is; raises HostError(NOT_FOUND) when there is no such guest."""
        self._find = find
        self._hubs: dict[str, _Hub] = {}

    async def attach(self, connection: Connection, request: int, asked: Console) -> None:
        """Answer a `console` call and carry bytes both ways until the client ends its direction or goes.

        Raises HostError(NOT_FOUND) before anything was sent; OSError when the client has gone.
        """
        paths = await self._find(asked.uuid)
        hub = self._hubs.get(asked.uuid)
        if hub is None:
            hub = self._hubs[asked.uuid] = _Hub(lambda: self._find(asked.uuid))
        watcher = hub.join()
        try:
            # What is typed right after the answer shall reach the guest, if it runs.
            await hub.tried.wait()
            # In one breath: what the guest wrote until now is in the log, what follows is for the queue.
            watcher.take_now()
            history = _tail(paths.log, asked.history)
            await connection.send(Reply(id=request, ok=dump(Empty())))
            if history:
                await connection.write(frame(history))
            output = asyncio.create_task(_forward(watcher, connection))
            try:
                while typed := await connection.read():
                    if asked.write:
                        hub.type(typed)
            finally:
                watcher.end()
                await output
        finally:
            if hub.leave(watcher):
                del self._hubs[asked.uuid]

    def close(self) -> None:
        """Let go of every guest's socket."""
        for hub in self._hubs.values():
            hub.close()


class _Watcher:
    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._something = asyncio.Event()

    def push(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        while self._size > BACKLOG:
            self._size -= len(self._chunks.popleft())
        self._something.set()

    def end(self) -> None:
        self._ended = True
        self._something.set()

    async def take(self) -> bytes:
        """All that came since the last call, waiting for some; empty at the end."""
        while not self._chunks and not self._ended:
            self._something.clear()
            await self._something.wait()
        return self.take_now()

    def take_now(self) -> bytes:
        taken = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        return taken


class _Hub:
    """One guest's console, attached while anybody watches."""

    def __init__(self, find: Callable[[], Awaitable[ConsolePaths]]) -> None:
        self._find = find
        self._watchers: set[_Watcher] = set()
        self._guest: asyncio.StreamWriter | None = None
        self.tried: Final = asyncio.Event()
        """Set once the guest's socket was reached, or was found not to answer."""
        self._task = asyncio.create_task(self._run())

    def join(self) -> _Watcher:
        watcher = _Watcher()
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: _Watcher) -> bool:
        """Whether that was the last one: the hub is closed then."""
        self._watchers.discard(watcher)
        if not self._watchers:
            self.close()
        return not self._watchers

    def type(self, data: bytes) -> None:
        """To the guest; into the void while it is not running, as on a real serial line."""
        if self._guest is not None:
            self._guest.write(data)

    def close(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                paths = await self._find()
                await self._read(paths.socket)
            except HostError as bad:
                if bad.code is ErrorCode.NOT_FOUND:
                    self.tried.set()
                    for watcher in self._watchers:
                        watcher.end()
                    return
            except OSError:
                pass  # not running: no socket, or one that nobody listens on
            self.tried.set()
            await asyncio.sleep(RETRY)

    async def _read(self, socket: Path) -> None:
        reader, self._guest = await asyncio.open_unix_connection(str(socket))
        self.tried.set()
        try:
            while chunk := await reader.read(_READ):
                for watcher in self._watchers:
                    watcher.push(chunk)
        finally:
            self._guest.close()
            self._guest = None


async def _forward(watcher: _Watcher, connection: Connection) -> None:
    with contextlib.suppress(OSError):  # gone: its reader sees that too
        while chunk := await watcher.take():
            await connection.write(frame(chunk))
        await connection.write(frame(b""))


def _tail(log: Path, count: int) -> bytes:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - count))
            return file.read(count)
    except FileNotFoundError:
        return b""
