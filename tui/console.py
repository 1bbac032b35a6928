"""A guest's serial console in this terminal: bytes pass through untouched until Ctrl+] is typed.

Runs while the app is suspended, in an event loop of its own on a thread of its own: nothing of the app draws then.
When the guest reboots or the connection is cut, it attaches again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
import threading
import tty
from collections.abc import Awaitable, Callable
from typing import Protocol

from tui.text import safe

LEAVE = b"\x1d"
"""Ctrl+]."""

AGAIN = 1.0
"""Seconds between two attempts to attach again."""


class Stream(Protocol):
    """What core.door.console gives."""

    async def read(self) -> bytes: ...

    async def write(self, data: bytes) -> None: ...

    async def close(self) -> None: ...


Attach = Callable[[], Awaitable[Stream]]
"""Takes a ticket and attaches. Raises SkydeckError."""


def run(name: str, attach: Attach, *, keyboard: int = 0, screen: int = 1) -> None:
    """Be the console until the person leaves, on these file descriptors. What goes wrong is said there."""
    thread = threading.Thread(
        target=lambda: asyncio.run(_session(safe(name), attach, keyboard, screen)), name="console"
    )
    thread.start()
    thread.join()


async def _session(name: str, attach: Attach, keyboard: int, screen: int) -> None:
    before = termios.tcgetattr(keyboard)
    keys: asyncio.Queue[bytes] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    _print(screen, f"\x1b[2J\x1b[Hserial0 {name} — Ctrl+] leaves\r\n")
    tty.setraw(keyboard)
    loop.add_reader(keyboard, lambda: keys.put_nowait(os.read(keyboard, 4096)))
    try:
        await _attached(name, attach, keys, screen)
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        _print(screen, f"\x1b[0m\x1b[?25h\r\nleft {name}\r\n")


async def _attached(name: str, attach: Attach, keys: asyncio.Queue[bytes], screen: int) -> None:
    from core.errors import SkydeckError

    said = ""
    while True:
        try:
            stream = await attach()
        except (SkydeckError, OSError) as bad:
            why = f"{getattr(bad, 'title', str(bad))}. {getattr(bad, 'hint', '')}"
            if why != said:
                _print(screen, f"\r\n[{safe(why)} Trying again; Ctrl+] leaves]\r\n")
                said = why
            if await _left_while_waiting(keys):
                return
            continue
        if said:
            _print(screen, f"\r\n[attached to {name} again]\r\n")
        said = "ended"
        try:
            if await _pass_through(stream, keys, screen):
                return
        finally:
            with contextlib.suppress(OSError):
                await stream.close()
        _print(screen, "\r\n[the console ended; attaching again; Ctrl+] leaves]\r\n")
        if await _left_while_waiting(keys):
            return


async def _pass_through(stream: Stream, keys: asyncio.Queue[bytes], screen: int) -> bool:
    """Both ways until one ends. True when the person left."""

    async def typing() -> bool:
        while True:
            data = await keys.get()
            kept, leave, _ = data.partition(LEAVE)
            if kept:
                await stream.write(kept)
            if leave or not data:
                return True

    async def showing() -> bool:
        while data := await stream.read():
            _print(screen, data)
        return False

    tasks = [asyncio.create_task(typing()), asyncio.create_task(showing())]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    with contextlib.suppress(ConnectionError):
        return any(task.result() for task in done)
    return False


async def _left_while_waiting(keys: asyncio.Queue[bytes]) -> bool:
    """Wait before the next attempt; True when Ctrl+] was typed meanwhile. Other keys are dropped: nobody hears them."""
    try:
        async with asyncio.timeout(AGAIN):
            while True:
                data = await keys.get()
                if LEAVE in data or not data:
                    return True
    except TimeoutError:
        return False


def _print(screen: int, data: str | bytes) -> None:
    rest = memoryview(data.encode() if isinstance(data, str) else data)
    while rest:
        rest = rest[os.write(screen, rest) :]
