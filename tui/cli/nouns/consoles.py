"""`skydeck console`: a server's console log, searches of all logs, its serial console itself, and its display."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from typing import Annotated

import typer

from core.errors import Invalid
from tui.cli import output, report
from tui.cli.caller import caller
from tui.cli.commands import group, leave
from tui.cli.noun import column, long, moment
from tui.cli.nouns.instances.noun import ServerName
from tui.cli.options import AllProjectsOption, Format, ProjectOption, extended, output_options
from tui.text import safe_lines

app = group("Consoles of servers.")
log = group("What a server wrote to its console.")
url = group("Addresses for viewers of a server's display.")
app.add_typer(log, name="log")
app.add_typer(url, name="url")

COLUMNS = (
    column("Server", "instance"),
    moment("Time", "at"),
    column("Line", "text"),
    long("Number", "number"),
    long("ID", "instance_id"),
    long("Project", "project"),
    long("Host", "host"),
    long("Deleted", "deleted"),
)

URL_FIELDS = (column("protocol", "protocol"), column("type", "type"), column("url", "url"))

UNHEARD = 1
"""Exit status when a host did not answer: what it has was not looked at."""


@url.callback()
def _url() -> None:
    """Addresses for viewers of a server's display."""


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
    with at.write(ticket=True) as (session, ctx):
        ticket = door.ticket(session, ctx, purpose="console_log", instance=server)
    serve.ensure(at.config, wait=True)
    text = safe_lines(asyncio.run(door.console_log(at.config, ticket, lines)))
    sys.stdout.write(text if text.endswith("\n") or not text else f"{text}\n")


@app.command()
def attach(
    server: ServerName,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Nobody else's keys reach the guest meanwhile.")
    ] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="Watch: no key reaches the guest.")] = False,
) -> None:
    """Attach this terminal to a server's serial console, beside others who are. Ctrl+] leaves."""
    from core import door, serve
    from tui.console import raw

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Invalid("a console needs a terminal", hint="skydeck console log show prints what it wrote so far.")
    at = caller()

    def ticket(*, again: bool = False) -> str:
        with at.write() as (session, ctx):
            return door.ticket(session, ctx, purpose="console", instance=server, again=again)

    first = [ticket()]  # what forbids a console is told before the terminal is changed

    async def attached() -> door.Console:
        await asyncio.to_thread(serve.ensure, at.config, wait=True)
        await door.knock(at.config)
        leave = first.pop() if first else await asyncio.to_thread(ticket, again=True)
        return await door.console(at.config, leave, write=not read_only, at=raw.place())

    raw.run(server, attached, take=take_over)


def _search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Part of a line, whatever its case; no pattern.")],
    project: ProjectOption = None,
    all_projects: AllProjectsOption = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="Servers that were deleted within a week, too.")] = False,
) -> None:
    """Look for a text in the console logs of all servers, on all hosts at once."""


def _searched(
    text: str,
    project: str | None,
    all_projects: bool,
    deleted: bool,
    *,
    format: Format,
    columns: list[str] | None,
) -> None:
    from core import door, serve

    at = caller()
    at.json_errors = format is Format.JSON
    with at.write(project=project, all_projects=all_projects, ticket=True) as (session, ctx):
        ticket = door.search_ticket(session, ctx, text, deleted=deleted)
    serve.ensure(at.config, wait=True)
    found = asyncio.run(door.search(at.config, ticket))
    rows = [dataclasses.asdict(line) | {"at": int(line.at * 1e6) if line.at else None} for line in found.lines]
    output.many(output.chosen(COLUMNS, columns, long=format is not Format.TABLE), rows, format=format)
    if found.more:
        report.notice("there are more lines: look for a longer text")
    for host, why in found.silent:
        report.notice(f"{host}: {why}")
    if found.silent:
        leave(UNHEARD)


app.command("search")(extended(_searched, _search, output_options()))


def _show_url(server: ServerName) -> None:
    """Hand out an address of this machine at which a server's display answers one VNC viewer.

    The viewer has to come within two minutes, and belong to the same user of this machine."""


def _shown_url(server: str, *, format: Format, columns: list[str] | None) -> None:
    from core import door, serve
    from core.consoles.display import url as written

    at = caller()
    at.json_errors = format is Format.JSON
    with at.write() as (session, ctx):
        ticket = door.ticket(session, ctx, purpose="display", instance=server)
    serve.ensure(at.config, wait=True)
    address, port = asyncio.run(door.display(at.config, ticket))
    row = {"protocol": "vnc", "type": "vnc-direct", "url": written(address, port)}
    output.one(output.chosen(URL_FIELDS, columns), row, format=format)


url.command("show")(extended(_shown_url, _show_url, output_options()))
