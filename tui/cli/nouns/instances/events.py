"""`skydeck server event list`: what was asked of a server, and by whom."""

from __future__ import annotations

from typing import Annotated

import typer

from tui.cli import output
from tui.cli.caller import caller
from tui.cli.commands import group
from tui.cli.noun import column, long, moment
from tui.cli.nouns.instances.noun import ServerName
from tui.cli.options import Format, extended, output_options

COLUMNS = (
    column("Request ID", "request_id"),
    column("Server ID", "object_id"),
    column("Action", lambda row: row["action"].partition(".")[2]),
    moment("Start Time", "at"),
    long("Message", "message"),
    long("Project ID", "project_id"),
    long("User", "user_name"),
    long("Source", "source"),
)

app = group("What happened to a server.")


@app.callback()
def _events() -> None:
    """What happened to a server."""


def _list(
    server: ServerName,
    long: Annotated[bool, typer.Option("--long", help="With more columns.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most this many.")] = None,
    marker: Annotated[str | None, typer.Option("--marker", metavar="ID", help="Those after this event.")] = None,
) -> None:
    """List a server's events, the newest first; of one that is gone, by its id."""


def _listed(
    *, server: str, long: bool, limit: int | None, marker: str | None, format: Format, columns: list[str] | None
) -> None:
    from core import listing
    from core.lists import EVENTS, OPERATIONS

    caller().json_errors = format is Format.JSON
    with caller().read() as (session, ctx):
        where = {"object_id": _id(session, ctx, server)}
        rows = listing.page(session, ctx, EVENTS, where=where, limit=limit, marker=marker)
        operations = listing.page(session, ctx, OPERATIONS, where=where)
    # The message is what became of the operation that the request enqueued.
    errors = {each["request_id"]: (each["error"] or {}).get("title", "") for each in operations}
    for row in rows:
        row["message"] = errors.get(row["request_id"], "")
    output.many(output.chosen(COLUMNS, columns, long=long), rows, format=format)


def _id(session: object, ctx: object, server: str) -> str:
    from core.compute.instances import verbs
    from core.errors import NotFound

    try:
        return verbs.find(session, ctx, server).id  # type: ignore[arg-type]
    except NotFound:
        if len(server) != len("00000000-0000-0000-0000-000000000000"):
            raise
        return server


app.command("list")(extended(_listed, _list, output_options()))
