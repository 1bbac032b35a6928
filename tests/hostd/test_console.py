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
from hostd.spec import (
    Change,
    Console,
    ConsoleNote,
    ConsoleWish,
    ErrorCode,
    HostError,
    Wish,
    bytes_frame,
    console_frame,
    frame,
    note_frame,
)


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
    def __init__(self, consoles: Consoles, *, write: bool = True, history: int = 2000, who: str = "") -> None:
        ours, theirs = socket.socketpair()
        self._ours = Connection(ours)
        self._theirs = Connection(theirs)
        self._ended = False
        self.task = asyncio.create_task(
            consoles.attach(self._theirs, 1, Console(uuid="u", write=write, history=history, who=who))
        )
        self.notes: list[ConsoleNote] = []

    async def attached(self) -> Watcher:
        await self._ours.read()
        assert await self.noted(Change.ATTACHED)
        return self

    async def next(self) -> bytes | ConsoleNote | None:
        """None at the end."""
        body = await self._ours.read()
        if not body:
            self._ended = True
            return None
        said: bytes | ConsoleNote = console_frame(body, ConsoleNote)
        return said

    async def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count and (said := await self.next()) is not None:
            if isinstance(said, bytes):
                data += said
            else:
                self.notes.append(said)
        return data

    async def noted(self, change: Change) -> ConsoleNote:
        """The next note, which is of this change."""
        said = self.notes.pop(0) if self.notes else await self.next()
        assert isinstance(said, ConsoleNote)
        assert said.change is change, said
        return said

    async def types(self, data: bytes) -> None:
        await self._ours.write(bytes_frame(data))

    async def wishes(self, wish: Wish) -> None:
        await self._ours.write(note_frame(ConsoleWish(wish=wish)))

    async def leave(self) -> None:
        await self._ours.write(frame(b""))
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


async def test_one_takes_it_over_the_others_are_told_and_it_is_shared_again_when_that_one_leaves(guest: Guest) -> None:
    consoles = Consoles(guest.find)
    alice = await Watcher(consoles, who="alice").attached()
    bob = await Watcher(consoles, who="bob").attached()
    reader = await Watcher(consoles, who="eve", write=False).attached()
    joined = await alice.noted(Change.JOINED)
    assert (joined.who, joined.others, joined.holder, joined.typing, joined.running) == (
        *("bob", ("bob",), None, True, True),
    )
    await bob.wishes(Wish.TAKE)
    assert (await alice.noted(Change.JOINED)).others == ("bob", "eve")
    taken = await alice.noted(Change.TAKEN)
    assert (taken.who, taken.holder, taken.typing) == ("bob", "bob", False)
    assert (await bob.noted(Change.JOINED)).who == "eve"
    assert (await bob.noted(Change.TAKEN)).typing
    await reader.wishes(Wish.TAKE)  # has none to take
    await alice.types(b"lost\n")
    await bob.types(b"mine\n")
    assert await guest.heard.get() == b"mine\n"
    late = await Watcher(consoles, who="late").attached()
    assert (await alice.noted(Change.JOINED)).holder == "bob"
    await alice.wishes(Wish.TAKE)
    assert (await bob.noted(Change.JOINED)).who == "late"
    lost = await bob.noted(Change.TAKEN)
    assert (lost.who, lost.typing) == ("alice", False)
    assert (await alice.noted(Change.TAKEN)).typing
    await alice.leave()
    assert (await late.noted(Change.TAKEN)).who == "alice"
    assert (await bob.noted(Change.RELEASED)).typing
    assert (await bob.noted(Change.LEFT)).who == "alice"
    await bob.types(b"again\n")
    assert await guest.heard.get() == b"again\n"
    for watcher in (bob, reader, late):
        await watcher.leave()


async def test_it_is_said_that_the_guest_is_off_and_on_again(guest: Guest) -> None:
    watcher = await Watcher(Consoles(guest.find)).attached()
    await guest.says(b"x")
    assert await watcher.read(1) == b"x"
    await guest.off()
    assert (await watcher.noted(Change.OFF)).running is False
    await guest.boot()
    assert (await watcher.noted(Change.ON)).running is True
    await watcher.leave()
