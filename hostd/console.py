"""Serial consoles: one reader of a guest's socket, as many watchers as like, and whose keys reach the guest.

QEMU's socket takes one client at a time and goes away with the guest's process; the hub hides both, and says so. All
who may type share the keyboard, until one of them takes it over: then the others watch, are told by whom, and may take
it in turn. It is shared again when the one who has it leaves.
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
from hostd.spec import (
    Change,
    Console,
    ConsoleNote,
    ConsoleWish,
    Empty,
    ErrorCode,
    HostError,
    Reply,
    Wish,
    bytes_frame,
    console_frame,
    dump,
    frame,
    note_frame,
)

BACKLOG: Final = 1 << 20
"""Bytes a slow watcher may lag behind before it misses some; a screenful is 2 kB."""

RETRY: Final = 0.2
"""Seconds between looks for the socket of a guest that is not running."""

LONGEST_NAME: Final = 64
"""Characters of a watcher's name that others are told."""

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
        watcher = _Watcher(asked.who[:LONGEST_NAME], write=asked.write)
        hub.join(watcher)
        try:
            # What is typed right after the answer shall reach the guest, if it runs.
            await hub.tried.wait()
            # In one breath: what the guest wrote until now is in the log, what follows is for the queue.
            watcher.take_now()
            history = _tail(paths.log, asked.history)
            await connection.send(Reply(id=request, ok=dump(Empty())))
            await connection.write(note_frame(hub.note(watcher, Change.ATTACHED, watcher.who)))
            if history:
                await connection.write(bytes_frame(history))
            output = asyncio.create_task(_forward(watcher, connection))
            try:
                while body := await connection.read():
                    said = console_frame(body, ConsoleWish)
                    if isinstance(said, bytes):
                        await hub.type(watcher, said)
                    else:
                        hub.wished(watcher, said.wish)
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
    """One who is attached, and what it was not sent yet."""

    def __init__(self, who: str, *, write: bool) -> None:
        self.who = who
        self.write = write
        self._waiting: deque[bytes | ConsoleNote] = deque()
        self._size = 0
        self._ended = False
        self._something = asyncio.Event()

    def push(self, what: bytes | ConsoleNote) -> None:
        self._waiting.append(what)
        self._size += _weight(what)
        missed: ConsoleNote | None = None
        while self._size > BACKLOG:
            lost = self._waiting.popleft()
            self._size -= _weight(lost)
            if isinstance(lost, ConsoleNote):
                missed = lost
        if missed is not None:
            # Bytes may be missed; who has the keyboard may not.
            self._waiting.appendleft(missed)
            self._size += _weight(missed)
        self._something.set()

    def end(self) -> None:
        self._ended = True
        self._something.set()

    async def take(self) -> bytes:
        """All that came since the last call, as frames, waiting for some; empty at the end."""
        while not self._waiting and not self._ended:
            self._something.clear()
            await self._something.wait()
        return self.take_now()

    def take_now(self) -> bytes:
        frames: list[bytes] = []
        run: list[bytes] = []
        for what in (*self._waiting, None):
            if isinstance(what, bytes):
                run.append(what)
                continue
            if run:
                frames.append(bytes_frame(b"".join(run)))
                run = []
            if what is not None:
                frames.append(note_frame(what))
        self._waiting.clear()
        self._size = 0
        return b"".join(frames)


def _weight(what: bytes | ConsoleNote) -> int:
    return len(what) if isinstance(what, bytes) else 64 * (4 + len(what.others))


class _Hub:
    """One guest's console, attached while anybody watches."""

    def __init__(self, find: Callable[[], Awaitable[ConsolePaths]]) -> None:
        self._find = find
        self._watchers: list[_Watcher] = []
        """In the order they came."""
        self._holder: _Watcher | None = None
        self._guest: asyncio.StreamWriter | None = None
        self.tried: Final = asyncio.Event()
        """Set once the guest's socket was reached, or was found not to answer."""
        self._task = asyncio.create_task(self._run())

    # ------------------------------------------------------------------ who is there

    def join(self, watcher: _Watcher) -> None:
        self._watchers.append(watcher)
        self._tell(Change.JOINED, watcher.who, but=watcher)

    def leave(self, watcher: _Watcher) -> bool:
        """Whether that was the last one: the hub is closed then."""
        self._watchers.remove(watcher)
        if self._holder is watcher:
            self._holder = None
            self._tell(Change.RELEASED, watcher.who)
        self._tell(Change.LEFT, watcher.who)
        if not self._watchers:
            self.close()
        return not self._watchers

    def wished(self, watcher: _Watcher, wish: Wish) -> None:
        """Take the keyboard, or share it again. One who only watches has none to take."""
        if not watcher.write:
            return
        if wish is Wish.TAKE and self._holder is not watcher:
            self._holder = watcher
            self._tell(Change.TAKEN, watcher.who)
        elif wish is Wish.RELEASE and self._holder is watcher:
            self._holder = None
            self._tell(Change.RELEASED, watcher.who)

    def note(self, watcher: _Watcher, change: Change, who: str) -> ConsoleNote:
        """How things stand, as the watcher may know it."""
        return ConsoleNote(
            change=change,
            who=who,
            others=tuple(other.who for other in self._watchers if other is not watcher),
            holder=self._holder.who if self._holder else None,
            typing=self._types(watcher),
            running=self._guest is not None,
        )

    def _types(self, watcher: _Watcher) -> bool:
        return watcher.write and self._holder in (None, watcher)

    def _tell(self, change: Change, who: str = "", *, but: _Watcher | None = None) -> None:
        for watcher in self._watchers:
            if watcher is not but:
                watcher.push(self.note(watcher, change, who))

    # ------------------------------------------------------------------ the guest

    async def type(self, watcher: _Watcher, data: bytes) -> None:
        """To the guest, when it is this watcher's turn; into the void while it is not running, as on a real line."""
        if self._types(watcher) and (guest := self._guest) is not None:
            guest.write(data)
            # A guest that does not read makes the typist wait, and nobody else.
            with contextlib.suppress(ConnectionError):
                await guest.drain()

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
        if self.tried.is_set():
            self._tell(Change.ON)
        self.tried.set()
        try:
            while chunk := await reader.read(_READ):
                for watcher in self._watchers:
                    watcher.push(chunk)
        finally:
            self._guest.close()
            self._guest = None
            self._tell(Change.OFF)


async def _forward(watcher: _Watcher, connection: Connection) -> None:
    with contextlib.suppress(OSError):  # gone: its reader sees that too
        while frames := await watcher.take():
            await connection.write(frames)
        await connection.write(frame(b""))


def _tail(log: Path, count: int) -> bytes:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - count))
            return file.read(count)
    except FileNotFoundError:
        return b""
