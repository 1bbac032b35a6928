"""`skydeck undo`: what you did lately, and taking it back by its inverse."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from core.errors import Conflict
from tui.cli import output, report
from tui.cli.caller import caller
from tui.cli.commands import leave, single
from tui.cli.noun import Row, column, moment
from tui.cli.options import Format, FormatOption
from tui.text import safe

DEEDS = (
    column("Request", "request_id"),
    moment("At", "at"),
    column("Did", "action"),
    column("To", "names"),
    column("Undo", "undo"),
    column("Loses", "loses"),
)

app = single()


@app.command()
def undo(
    request: Annotated[
        str | None, typer.Argument(metavar="[REQUEST]", help="The request to take back; else the newest that can be.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Print what you did lately, and what would undo it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Without asking.")] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Take back what you did, by the verb that is its inverse."""
    from core import undo as core_undo

    at = caller()
    at.json_errors = format is Format.JSON
    with at.read() as (session, ctx):
        deeds = core_undo.recent(session, ctx)
    if listed:
        output.many(DEEDS, [_row(deed) for deed in deeds], format=format)
        return
    wanted = next((one for one in deeds if (one.request_id == request if request else one.why_not is None)), None)
    if wanted is None:
        raise Conflict("there is nothing to undo", hint="skydeck undo --list tells what you did, and why not.")
    if wanted.why_not is not None:
        raise Conflict(f"cannot undo: {wanted.why_not[0]}", hint=wanted.why_not[1])
    if wanted.asks and not yes and not _agreed(wanted):
        raise Conflict("not agreed, nothing was done", hint="--yes does it without asking.")
    done, refused = core_undo.undo(at.store, at.who(), at.config, wanted.request_id)
    for says in done:
        report.notice(f"undone: {says}")
    for says, bad in refused:
        report.refusal(bad, subject=says, as_json=at.json_errors)
    leave(refused[0][1].exit_code if refused else 0)


def _row(deed: Any) -> Row:
    return {
        "request_id": deed.request_id,
        "at": deed.at,
        "action": deed.action,
        "names": ", ".join(deed.names[:3]) + (f" and {len(deed.names) - 3} more" if len(deed.names) > 3 else ""),
        "undo": deed.says if deed.why_not is None else f"no: {deed.why_not[0]}",
        "loses": deed.loses,
    }


def _agreed(deed: Any) -> bool:
    if not sys.stdin.isatty():
        return False
    return typer.confirm(safe(f"{deed.says[:1].upper()}{deed.says[1:]}?"), default=False, err=True)
