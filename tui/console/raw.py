"""A guest's serial console in this terminal, until Ctrl+] is typed.

Runs while the app is suspended, in an event loop of its own on a thread of its own: nothing of the app draws then. What
the guest writes passes as it is, but for what would reach beyond drawing (`guarded`). Who else is there, who may type,
and a guest that goes off and comes back are said in brackets. When the connection is cut, it attaches again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
import threading
import time
import tty
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from tui.console.guarded import RESET, Guarded
from tui.console.keys import HELP, Act, Keys
from tui.text import safe

AGAIN = 1.0
"""Seconds between two attempts to attach again."""

REMIND = 3.0
"""Seconds between two reminders that keys reach nobody."""

SETTLE = 1.5
"""Seconds after the console was lost to somebody in which `!` does not take it back: it may have been typed before."""


class Stream(Protocol):
    """core.consoles.client.Console."""

    async def next(self) -> Any: ...

    async def write(self, data: bytes) -> None: ...

    async def take(self) -> None: ...

    async def release(self) -> None: ...

    async def close(self) -> None: ...


Attach = Callable[[], Awaitable[Stream]]
"""Takes a ticket and attaches. Raises SkydeckError."""


def run(name: str, attach: Attach, *, keyboard: int = 0, screen: int = 1, take: bool = False) -> None:
    """Be the console until the person leaves, on these file descriptors. What goes wrong is said there. `take`: take it
    over at once."""
    session = _Session(safe(name), attach, keyboard, screen, take=take)
    thread = threading.Thread(target=lambda: asyncio.run(session.run()), name="console")
    thread.start()
    thread.join()


def place() -> str:
    """The name of this terminal, as others at a console are told it; empty without one."""
    try:
        return os.ttyname(0).removeprefix("/dev/")
    except OSError:
        return ""


class _Session:
    def __init__(self, name: str, attach: Attach, keyboard: int, screen: int, *, take: bool) -> None:
        self._name = name
        self._attach = attach
        self._keyboard = keyboard
        self._screen = screen
        self._take = take
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._keys = Keys()
        self._note: Any = None
        """How things stand: the newest note."""
        self._lost_at = 0.0
        self._reminded_at = 0.0

    async def run(self) -> None:
        before = termios.tcgetattr(self._keyboard)
        loop = asyncio.get_running_loop()
        self._print(f"\x1b[2J\x1b[Hserial0 {self._name} — Ctrl+] leaves   Ctrl+^ ? more\r\n")
        tty.setraw(self._keyboard)
        loop.add_reader(self._keyboard, self._read_keys)
        try:
            await self._attached()
        finally:
            loop.remove_reader(self._keyboard)
            with contextlib.suppress(termios.error, OSError):  # the terminal may be gone
                termios.tcsetattr(self._keyboard, termios.TCSADRAIN, before)
                self._print(f"{RESET}\r\nleft {self._name}\r\n")

    def _read_keys(self) -> None:
        try:
            data = os.read(self._keyboard, 4096)
        except OSError:
            data = b""
        if not data:  # hung up: without this it would be read again for ever
            asyncio.get_running_loop().remove_reader(self._keyboard)
        self._typed.put_nowait(data)

    # ------------------------------------------------------------------ attaching

    async def _attached(self) -> None:
        from core.errors import SkydeckError

        said = ""
        while True:
            try:
                stream = await self._attach()
            except (SkydeckError, OSError) as bad:
                why = f"{getattr(bad, 'title', str(bad))}. {getattr(bad, 'hint', '')}"
                if why != said:
                    self._say(f"{safe(why)} Trying again; Ctrl+] leaves")
                    said = why
                if await self._left_while_waiting():
                    return
                continue
            if said:
                self._say(f"attached to {self._name} again")
            said = "ended"
            try:
                if await self._both_ways(stream):
                    return
            finally:
                with contextlib.suppress(OSError):
                    await stream.close()
            self._note = None
            self._say("the console ended; attaching again; Ctrl+] leaves")
            if await self._left_while_waiting():
                return

    async def _both_ways(self, stream: Stream) -> bool:
        """Until one ends. True when the person left."""
        tasks = [asyncio.create_task(self._typing(stream)), asyncio.create_task(self._showing(stream))]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        with contextlib.suppress(ConnectionError):
            return any(task.result() for task in done)
        return False

    async def _left_while_waiting(self) -> bool:
        """Wait before the next attempt; True when the person left. Other keys are dropped: nobody hears them."""
        try:
            async with asyncio.timeout(AGAIN):
                while True:
                    data = await self._typed.get()
                    if Act.LEAVE in self._keys.typed(data, typing=True):
                        return True
        except TimeoutError:
            return False

    # ------------------------------------------------------------------ typing

    async def _typing(self, stream: Stream) -> bool:
        while True:
            data = await self._typed.get()
            for part in self._keys.typed(data, typing=self._may_type):
                if isinstance(part, bytes):
                    await self._type(stream, part)
                elif part is Act.LEAVE:
                    return True
                elif part is Act.TAKE:
                    await self._take_or_share(stream)
                elif part is Act.SIZE:
                    columns, rows = os.get_terminal_size(self._screen)
                    await self._type(stream, f"stty rows {rows} cols {columns}\r".encode())
                else:
                    self._say(HELP)

    @property
    def _may_type(self) -> bool:
        return self._note is None or self._note.typing

    async def _type(self, stream: Stream, data: bytes) -> None:
        if self._may_type:
            await stream.write(data)
        elif time.monotonic() - self._reminded_at > REMIND:
            self._reminded_at = time.monotonic()
            self._say(f"your keys reach nobody: {safe(self._note.holder or 'nobody')} has the console; ! takes it over")

    async def _take_or_share(self, stream: Stream) -> None:
        note = self._note
        if note is not None and note.holder is not None and note.typing:
            await stream.release()
        elif time.monotonic() - self._lost_at > SETTLE:
            await stream.take()
        else:
            self._say("that ! may have been meant for the guest; once more takes the console back")
            self._lost_at = 0.0

    # ------------------------------------------------------------------ showing

    async def _showing(self, stream: Stream) -> bool:
        guarded = Guarded()
        while (said := await stream.next()) is not None:
            if isinstance(said, bytes):
                self._print(guarded.pass_on(said))
            else:
                await self._noted(stream, said)
        return False

    async def _noted(self, stream: Stream, note: Any) -> None:
        lost = self._may_type and not note.typing and note.change == "taken"
        self._note = note
        if lost:
            self._lost_at = time.monotonic()
        if words := told(note):
            self._say(words, loud=lost)
        if note.change == "attached" and self._take:
            self._take = False
            await stream.take()

    def _say(self, words: str, *, loud: bool = False) -> None:
        """Ours, in brackets; `loud` with a bell and in reverse."""
        on, off = ("\a\x1b[7m", "\x1b[27m") if loud else ("", "")
        self._print(f"\r\n{on}[{words}]{off}\r\n")

    def _print(self, data: str | bytes) -> None:
        rest = memoryview(data.encode() if isinstance(data, str) else data)
        while rest:
            rest = rest[os.write(self._screen, rest) :]


def told(note: Any) -> str:
    """A note in words; empty when it says nothing that a person would want to know."""
    who = safe(note.who) or "somebody"
    others = ", ".join(safe(other) or "somebody" for other in note.others)
    holder = safe(note.holder or "somebody")
    match str(note.change):
        case "attached":
            words = []
            if others:
                words.append(f"also here: {others}")
            if note.holder is not None:
                words.append(f"{holder} has taken the console over: you watch; ! takes it over")
            elif not note.typing:
                words.append("you watch: your keys reach nobody")
            if not note.running:
                words.append("the guest is off; it appears here when it starts")
            return "; ".join(words)
        case "joined":
            return (
                f"{who} is here too; keys are shared" if note.typing and note.holder is None else f"{who} is here too"
            )
        case "left":
            return f"{who} left"
        case "taken" if note.typing:
            return "you have the console to yourself; Ctrl+^ ! shares it again"
        case "taken":
            return f"{who} took the console over: your keys reach nobody; ! takes it back"
        case "released":
            return "the console is shared again: your keys reach the guest" if note.typing else "shared again"
        case "off":
            return "the guest is off; its console comes back by itself; Ctrl+] leaves"
        case "on":
            return "the guest is on again"
        case _:
            return ""
