"""`skydeck server why`: the cause, the funnel, and the smallest change that would fit."""

from __future__ import annotations

from typing import Any

from tui.cli import output, report
from tui.cli.caller import caller
from tui.cli.noun import Row, column, long
from tui.cli.nouns.instances.noun import ServerName
from tui.cli.options import Format, FormatOption

FIELDS = (
    column("server", "name"),
    column("state", "state"),
    column("step", "step"),
    column("cause", "title"),
    column("next", "hint"),
    column("smallest_change", "smallest"),
    column("by", "act"),
    column("then_host", "host"),
    column("or", "others"),
    column("in_the_way", "obstacles"),
    long("funnel", "funnel"),
    column("operation", "operation"),
)


def why(server: ServerName, format: FormatOption = Format.TABLE) -> None:
    """Why a server is in ERROR, or was refused: which host was turned away by what, and what would fit.

    Also of a launch that was refused before there was a server, by the name it was to have.
    """
    from core.compute import why as core_why

    at = caller()
    at.json_errors = format is Format.JSON
    with at.read() as (session, ctx):
        found = core_why.of_server(session, ctx, server)
    table = format is Format.TABLE
    output.one([each for each in FIELDS if not (table and each.long)], _row(found), format=format)
    for line in report.funnel_lines(found.funnel) if table else ():
        report.notice(line)


def _row(found: Any) -> Row:
    first = found.remedies[0] if found.remedies else None
    return {
        "name": found.name,
        "state": found.state,
        "step": found.step,
        "title": found.title or "nothing is wrong",
        "hint": found.hint,
        "smallest": first.what if first else "",
        "act": first.act if first else "",
        "host": first.host if first else "",
        "others": "\n".join(f"{one.what} (then {one.host}): {one.act}" for one in found.remedies[1:]),
        "obstacles": "\n".join(f"{found.nearest}: {name}: {why}" for name, why in found.obstacles),
        "funnel": found.funnel,
        "operation": found.operation,
    }
