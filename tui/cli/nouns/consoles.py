"""`skydeck console`: a server's console log, and its serial console itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import Failed, Invalid
from tui.cli import report
from tui.cli.caller import caller
from tui.cli.commands import group
from tui.cli.nouns.instances.noun import ServerName
from tui.text import safe_lines

if TYPE_CHECKING:
    from core.door import Console

LEAVE = b"\x1d"
"""Ctrl+], as telnet and virsh have it."""

_RESTORE = "\x1b[!p\x1b[?47l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?2004l\x1b[?25h\x1b[0m\n"
"""Takes back what a guest may have set: a soft reset, the main screen, no mouse, no paste marks, a cursor."""

app = group("Consoles of servers.")
log = group("What a server wrote to its console.")
app.add_typer(log, name="log")


@log.callback()
def _log() -> None:
    """What a server wrote to its console."""


@log.command()
def show(
    server: ServerName,
    lines: Annotated[int, typer.Option("--lines", metavar="N", min=1, help="The last so many.")] = 1000,
) -> None:
    """Print the end of a server's console log."""
    from core import door, serve

    at = caller()
    with at.write() as (session, ctx):
        ticket = door.ticket(session, ctx, purpose="console_log", instance=server)
    serve.ensure(at.config, wait=True)
    text = safe_lines(asyncio.run(door.console_log(at.config, ticket, lines)))
    sys.stdout.write(text if text.endswith("\n") or not text else f"{text}\n")


@app.command()
def attach(
    server: ServerName,
    read_only: Annotated[bool, typer.Option("--read-only", help="Watch; type nothing.")] = False,
) -> None:
    """Attach this terminal to a server's serial console. Ctrl+] leaves; the guest's bytes come as they are."""
    from core import door, serve

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Invalid("a console needs a terminal", hint="skydeck console log show prints what it wrote so far.")
    at = caller()
    with at.write() as (session, ctx):
        ticket = door.ticket(session, ctx, purpose="console", instance=server)
    serve.ensure(at.config, wait=True)

    async def run() -> bool:
        console = await door.console(at.config, ticket, write=not read_only)
        report.notice(f"attached to {server}; Ctrl+] leaves")
        with _raw(sys.stdin.fileno()):
            try:
                return await _talk(console, write=not read_only)
            finally:
                await console.close()

    left = asyncio.run(run())
    if not left:
        raise Failed(f"the console of {server} has ended", hint=f"skydeck server show {server}")
    report.notice(f"left {server}")


async def _talk(console: Console, *, write: bool) -> bool:
    """Bytes both ways until somebody leaves (True) or the console ends (False)."""
    typed: asyncio.Queue[bytes] = asyncio.Queue()
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    loop = asyncio.get_running_loop()
    loop.add_reader(keyboard, lambda: typed.put_nowait(os.read(keyboard, 4096)))

    async def listen() -> bool:
        while data := await console.read():
            await asyncio.to_thread(_write_all, screen, data)
        return False

    async def speak() -> bool:
        while True:
            data = await typed.get()
            before, leave, _ = data.partition(LEAVE)
            if before and write:
                try:
                    await console.write(before)
                except ConnectionError:
                    return False
            if leave or not data:
                return True

    tasks = [asyncio.create_task(listen()), asyncio.create_task(speak())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return any(task.result() for task in done)
    finally:
        loop.remove_reader(keyboard)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Keys go through one by one, uninterpreted; and the terminal is as it was afterwards, whatever the guest did."""
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
        sys.stdout.write(_RESTORE)
        sys.stdout.flush()
