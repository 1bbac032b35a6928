"""`skydeck console`: a server's console log, and its serial console itself."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from core.errors import Invalid
from tui.cli.caller import caller
from tui.cli.commands import group
from tui.cli.nouns.instances.noun import ServerName
from tui.text import safe_lines

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
def attach(server: ServerName) -> None:
    """Attach this terminal to a server's serial console. Ctrl+] leaves; the guest's bytes come as they are."""
    from core import door, serve
    from tui import console

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Invalid("a console needs a terminal", hint="skydeck console log show prints what it wrote so far.")
    at = caller()

    def ticket() -> str:
        with at.write() as (session, ctx):
            return door.ticket(session, ctx, purpose="console", instance=server)

    first = [ticket()]  # what forbids a console is told before the terminal is changed

    async def attached() -> door.Console:
        await asyncio.to_thread(serve.ensure, at.config, wait=True)
        leave = first.pop() if first else await asyncio.to_thread(ticket)
        return await door.console(at.config, leave, write=True)

    console.run(server, attached)
