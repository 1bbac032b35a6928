"""One guest's console, several who watch, and a guest that comes and goes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hostd.connection import Connection
from hostd.console import BACKLOG, Consoles
from hostd.drivers import ConsolePaths
from hostd.spec import Console, ErrorCode, HostError, frame


class Guest:
    """A serial socket as QEMU offers it."""

    def __init__(self, directory: Path) -> None:
        self.paths = ConsolePaths(socket=directory / "console.sock", log=directory / "console.log")
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.clients = 0
        self._server: asyncio.Server | None = None
        self._client: asyncio.StreamWriter | None = None
        self._attached = asyncio.Event()
        self.exists = True

    async def boot(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.paths.socket)

    async def off(self) -> None:
        assert self._server is not None
        self._server.close()
        self.paths.socket.unlink()
        if self._client is not None:
            self._client.close()
        self._attached.clear()

    async def says(self, data: bytes) -> None:
        await self._attached.wait()
        assert self._client is not None
        self._client.write(data)
        with self.paths.log.open("ab") as log:
            log.write(data)

    async def find(self, uuid: str) -> ConsolePaths:
        if not self.exists:
            raise HostError(ErrorCode.NOT_FOUND, f"no guest {uuid}")
        return self.paths

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        self._client = writer
        self._attached.set()
        while data := await reader.read(4096):
            self.heard.put_nowait(data)
        writer.close()


class Watcher:
    def __init__(self, consoles: Consoles, *, write: bool = True, history: int = 2000) -> None:
        ours, theirs = socket.socketpair()
        self._ours = Connection(ours)
        self._theirs = Connection(theirs)
        self._ended = False
        self.task = asyncio.create_task(
            consoles.attach(self._theirs, 1, Console(uuid="u", write=write, history=history))
        )

    async def attached(self) -> Watcher:
        await self._ours.read()
        return self

    async def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = await self._ours.read()
            if not chunk:
                self._ended = True
                break
            data += chunk
        return data

    async def types(self, data: bytes) -> None:
        await self._ours.write(frame(data))

    async def leave(self) -> None:
        await self.types(b"")
        while not self._ended and await self._ours.read():
            pass
        await self.task
        self._ours.close()
        self._theirs.close()


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncIterator[Guest]:
    guest = Guest(tmp_path)
    await guest.boot()
    yield guest
    await guest.off()


async def test_all_watchers_see_the_same_over_one_attachment(guest: Guest) -> None:
    consoles = Consoles(guest.find)
    first = await Watcher(consoles).attached()
    await guest.says(b"login: ")
    assert await first.read(7) == b"login: "
    second = await Watcher(consoles).attached()
    assert await second.read(7) == b"login: "  # from the log
    await guest.says(b"root\n")
    assert (await first.read(5), await second.read(5)) == (b"root\n", b"root\n")
    assert guest.clients == 1
    await first.leave()
    await second.leave()


async def test_those_who_may_not_write_only_watch(guest: Guest) -> None:
    consoles = Consoles(guest.find)
    reader, writer = await Watcher(consoles, write=False).attached(), await Watcher(consoles).attached()
    await reader.types(b"rm -rf /\n")
    await reader.leave()
    await writer.types(b"ls\n")
    assert await guest.heard.get() == b"ls\n"
    await writer.leave()


async def test_history_is_as_long_as_asked(guest: Guest) -> None:
    guest.paths.log.write_bytes(b"0123456789")
    consoles = Consoles(guest.find)
    some, none = await Watcher(consoles, history=4).attached(), await Watcher(consoles, history=0).attached()
    await guest.says(b"!")
    assert (await some.read(5), await none.read(1)) == (b"6789!", b"!")
    await some.leave()
    await none.leave()


async def test_a_watcher_stays_while_the_guest_is_off_and_on_again(guest: Guest) -> None:
    watcher = await Watcher(Consoles(guest.find)).attached()
    await guest.says(b"bye")
    assert await watcher.read(3) == b"bye"
    await guest.off()
    await guest.boot()
    await guest.says(b"hello again")
    assert await watcher.read(11) == b"hello again"
    await watcher.leave()


async def test_the_stream_ends_with_the_guest(guest: Guest) -> None:
    watcher = await Watcher(Consoles(guest.find)).attached()
    guest.exists = False
    await guest.off()
    assert await watcher.read(1) == b""
    await watcher.leave()
    await guest.boot()


async def test_who_does_not_read_misses_the_oldest_and_delays_nobody(guest: Guest) -> None:
    consoles = Consoles(guest.find)
    lazy, keen = await Watcher(consoles).attached(), await Watcher(consoles).attached()
    line = b"x" * 65536
    for _ in range(3 * BACKLOG // len(line)):
        await guest.says(line)
        assert len(await keen.read(len(line))) == len(line)
    await guest.says(b"the end")
    heard = await keen.read(7)
    tail = b""
    while not tail.endswith(b"the end"):
        tail += await lazy.read(1)
    assert (heard, len(tail) < 3 * BACKLOG) == (b"the end", True)
    await lazy.leave()
    await keen.leave()
