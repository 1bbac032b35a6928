"""The raw console on a real pty: bytes pass untouched, Ctrl+] leaves, a guest's reboot is waited out."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import termios
import threading
import time
from collections.abc import Iterator

import pytest

from core.errors import Unavailable
from tui import console


class Guest:
    """Echoes what is typed; `end` closes the console as a reboot does."""

    def __init__(self) -> None:
        self.typed = b""
        self._out: asyncio.Queue[bytes] = asyncio.Queue()
        self._out.put_nowait(b"login: ")

    async def read(self) -> bytes:
        return await self._out.get()

    async def write(self, data: bytes) -> None:
        self.typed += data
        self._out.put_nowait(b"<" + data + b">")
        if data == b"reboot\r":
            self._out.put_nowait(b"")

    async def close(self) -> None:
        pass


class Terminal:
    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.seen = b""

    def until(self, wanted: bytes, *, within: float = 10.0) -> None:
        end = time.monotonic() + within
        while wanted not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536)

    def type(self, data: bytes) -> None:
        os.write(self.master, data)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    os.close(made.master)
    os.close(made.slave)


def attached(terminal: Terminal, attach: console.Attach) -> threading.Thread:
    thread = threading.Thread(
        target=lambda: console.run("web\x1b[2J-01", attach, keyboard=terminal.slave, screen=terminal.slave)
    )
    thread.start()
    return thread


def test_bytes_pass_through_and_the_terminal_is_given_back(terminal: Terminal) -> None:
    guest = Guest()
    before = termios.tcgetattr(terminal.slave)

    async def attach() -> Guest:
        return guest

    thread = attached(terminal, attach)
    terminal.until(b"serial0 web[2J-01")
    terminal.until(b"login: ")
    terminal.type(b"\x03\x1b[A")
    terminal.until(b"<\x03\x1b[A>")
    terminal.type(b"ls\x1d")
    thread.join(timeout=10)
    assert not thread.is_alive()
    terminal.until(b"left web")
    assert guest.typed == b"\x03\x1b[Als"
    assert termios.tcgetattr(terminal.slave) == before


def test_it_attaches_again_after_a_reboot(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "AGAIN", 0.02)
    guests = [Guest(), Guest()]
    attempts = []

    async def attach() -> Guest:
        attempts.append(1)
        if len(attempts) == 2:
            raise Unavailable("the console is not there yet", hint="Wait.")
        return guests[0] if len(attempts) == 1 else guests[1]

    thread = attached(terminal, attach)
    terminal.until(b"login: ")
    terminal.type(b"reboot\r")
    terminal.until(b"the console is not there yet")
    terminal.until(b"again]")
    terminal.type(b"\x1d")
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert len(attempts) == 3
