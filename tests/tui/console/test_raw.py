"""The raw console on a real pty: bytes pass, Ctrl+] leaves, a guest's reboot is waited out, who may type is said."""

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

from core.consoles.client import Change, ConsoleNote
from core.errors import Unavailable
from tui.console import raw
from tui.console.guarded import RESET, Guarded
from tui.console.keys import Act, Keys


def note(change: Change, **fields: object) -> ConsoleNote:
    known = {"who": "me", "others": (), "holder": None, "typing": True, "running": True}
    return ConsoleNote(change=change, **(known | fields))  # type: ignore[arg-type]


class Guest:
    """Echoes what is typed; `reboot` ends the console as a cut link does."""

    def __init__(self) -> None:
        self.typed = b""
        self.wishes: list[str] = []
        self.out: asyncio.Queue[bytes | ConsoleNote | None] = asyncio.Queue()
        self.out.put_nowait(note(Change.ATTACHED))
        self.out.put_nowait(b"login: ")

    async def next(self) -> bytes | ConsoleNote | None:
        return await self.out.get()

    async def write(self, data: bytes) -> None:
        self.typed += data
        self.out.put_nowait(b"<" + data + b">")
        if data == b"reboot\r":
            self.out.put_nowait(None)

    async def take(self) -> None:
        self.wishes.append("take")
        self.out.put_nowait(note(Change.TAKEN, holder="me"))

    async def release(self) -> None:
        self.wishes.append("release")
        self.out.put_nowait(note(Change.RELEASED))

    async def close(self) -> None:
        pass


class Terminal:
    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (40, 120))
        self.seen = b""

    def until(self, wanted: bytes, *, within: float = 10.0) -> None:
        end = time.monotonic() + within
        while wanted not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536)
        self.seen = self.seen.partition(wanted)[2]

    def type(self, data: bytes) -> None:
        os.write(self.master, data)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    os.close(made.master)
    os.close(made.slave)


def attached(terminal: Terminal, attach: raw.Attach, *, take: bool = False) -> threading.Thread:
    thread = threading.Thread(
        target=lambda: raw.run("web\x1b[2J-01", attach, keyboard=terminal.slave, screen=terminal.slave, take=take)
    )
    thread.start()
    return thread


def test_bytes_pass_through_and_the_terminal_is_given_back(terminal: Terminal) -> None:
    guest = Guest()
    before = termios.tcgetattr(terminal.slave)

    async def attach() -> Guest:
        guest.out.put_nowait(b"\x1b]52;c;b3duZWQ=\x07\x1b]0;owned\x1b\\\x1b[31mred")
        return guest

    thread = attached(terminal, attach)
    terminal.until("serial0 web[2J-01 — Ctrl+] leaves".encode())
    terminal.until(b"login: \x1b[31mred")
    terminal.type(b"\x03\x1b[A")
    terminal.until(b"<\x03\x1b[A>")
    terminal.type(b"\x1es")
    terminal.until(b"<stty rows 40 cols 120\r>")
    terminal.type(b"\x1e?\x1e\x1e")
    terminal.until(b"sends Ctrl+^]")
    terminal.until(b"<\x1e>")
    terminal.type(b"ls\x1d")
    thread.join(timeout=10)
    assert not thread.is_alive()
    terminal.until(RESET.encode())
    terminal.until(b"left web")
    assert guest.typed == b"\x03\x1b[Astty rows 40 cols 120\r\x1els"
    assert termios.tcgetattr(terminal.slave) == before


def test_it_attaches_again_after_a_reboot(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "AGAIN", 0.02)
    guests = [Guest(), Guest()]
    attempts = []

    loops: list[asyncio.AbstractEventLoop] = []

    async def attach() -> Guest:
        attempts.append(1)
        loops.append(asyncio.get_running_loop())
        if len(attempts) == 2:
            raise Unavailable("the console is not there yet", hint="Wait.")
        return guests[0] if len(attempts) == 1 else guests[1]

    thread = attached(terminal, attach)
    terminal.until(b"login: ")
    for change, words in ((Change.OFF, b"the guest is off"), (Change.ON, b"the guest is on again")):
        loops[0].call_soon_threadsafe(guests[0].out.put_nowait, note(change))
        terminal.until(words)
    terminal.type(b"reboot\r")
    terminal.until(b"the console is not there yet")
    terminal.until(b"again]")
    terminal.type(b"\x1d")
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert len(attempts) == 3


def test_who_lost_the_keyboard_is_told_and_may_take_it_back(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "SETTLE", 60.0)
    guest = Guest()
    loops: list[asyncio.AbstractEventLoop] = []

    async def attach() -> Guest:
        loops.append(asyncio.get_running_loop())
        return guest

    def noted(change: Change, **fields: object) -> None:
        loops[0].call_soon_threadsafe(guest.out.put_nowait, note(change, **fields))

    thread = attached(terminal, attach, take=True)
    terminal.until(b"you have the console to yourself")
    noted(Change.JOINED, who="bob\x1b[2J", others=("bob",), holder="me")
    terminal.until(b"[bob[2J is here too]")
    noted(Change.TAKEN, who="bob", holder="bob", typing=False)
    terminal.until(b"\a\x1b[7m[bob took the console over: your keys reach nobody; ! takes it back]\x1b[27m")
    terminal.type(b"rm -rf /\r")
    terminal.until(b"your keys reach nobody: bob has the console")
    terminal.type(b"!")
    terminal.until(b"once more takes the console back")
    terminal.type(b"!")
    terminal.until(b"you have the console to yourself")
    terminal.type(b"\x1e!")
    terminal.until(b"shared again: your keys reach the guest")
    terminal.type(b"ls")
    terminal.until(b"<ls>")
    os.close(terminal.master)  # the terminal hangs up
    thread.join(timeout=10)
    assert not thread.is_alive()
    terminal.master = os.open(os.devnull, os.O_RDONLY)
    assert (guest.typed, guest.wishes) == (b"ls", ["take", "take", "release"])


@pytest.mark.parametrize(
    ("written", "passed"),
    [
        (b"plain \xc3\xa9\xff\x07\r\n", b"plain \xc3\xa9\xff\x07\r\n"),
        (b"\x1b[2J\x1b[?1049h\x1b[38;5;1mx\x1b(0\x1b7\x1bM", b"\x1b[2J\x1b[?1049h\x1b[38;5;1mx\x1b(0\x1b7\x1bM"),
        (b"a\x1b]52;c;AAAA\x07b\x1b]0;title\x1b\\c", b"abc"),
        (b"a\x1bPq#0\x1b\\b\x1b_x\x1b\\c\x1b^y\x1b\\d\x1bXz\x1b\\e", b"abcde"),
        (b"a\xc2\x9d52;c;AA\xc2\x9cb\xc2\xa9", b"ab\xc2\xa9"),
        (b"a\x1b[6n\x1b[c\x1b[>c\x1b[18t\x1b[?2026$p\x1b[>q\x1b[?u\x1bZ\x05b", b"ab"),
        (b"a\x1b]never ending, cancelled\x18b", b"ab"),
        (b"\x1b[1 q\x1b[!p\x1b[s\x1b[u", b"\x1b[1 q\x1b[!p\x1b[s\x1b[u"),
    ],
)
def test_a_guest_draws_and_does_nothing_else(written: bytes, passed: bytes) -> None:
    assert Guarded().pass_on(written + b".") == passed + b"."
    piecewise = Guarded()
    assert b"".join(piecewise.pass_on(bytes([byte])) for byte in written + b".") == passed + b"."


def test_keys_that_are_for_us() -> None:
    keys = Keys()
    assert list(keys.typed(b"ab!\x1dcd", typing=True)) == [b"ab!", Act.LEAVE]
    assert list(keys.typed(b"!", typing=True)) == [b"!"]
    assert list(keys.typed(b"!", typing=False)) == [Act.TAKE]
    assert list(keys.typed(b"hi!", typing=False)) == [b"hi!"]
    assert list(keys.typed(b"x\x1e", typing=True)) == [b"x"]
    assert list(keys.typed(b"!y\x1ezz", typing=True)) == [Act.TAKE, b"yz"]
    assert list(keys.typed(b"", typing=True)) == [Act.LEAVE]
