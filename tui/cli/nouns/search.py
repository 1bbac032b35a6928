"""`skydeck search TEXT`: whatever has it in its name, its id or an address, of every noun at once."""

from __future__ import annotations

from typing import Annotated

import typer

from core.errors import Invalid
from tui.cli import output
from tui.cli.caller import caller
from tui.cli.commands import single
from tui.cli.noun import column, long
from tui.cli.options import AllProjectsOption, Format, ProjectOption, extended, output_options

COLUMNS = (
    column("Type", "kind"),
    column("ID", "key"),
    column("Name", "name"),
    column("Status", "status"),
    column("Found By", "by"),
    long("Project", "project_id"),
)

app = single()


def _search(
    text: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Words that all have to be in it.")],
    type: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only of this noun; may be repeated.")
    ] = None,
    project: ProjectOption = None,
    all_projects: AllProjectsOption = False,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most this many.")] = 100,
    long: Annotated[bool, typer.Option("--long", help="With more columns.")] = False,
) -> None:
    """Find anything by its name, id or address; the likeliest first."""


def _found(
    *,
    text: list[str],
    type: list[str] | None,
    project: str | None,
    all_projects: bool,
    limit: int,
    long: bool,
    format: Format,
    columns: list[str] | None,
) -> None:
    from core import finding
    from core.lists import LISTINGS

    at = caller()
    at.json_errors = format is Format.JSON
    kinds = [{"server": "instance"}.get(word, word.replace("-", "_")) for word in type or ()]
    if unknown := sorted(set(kinds) - set(LISTINGS)):
        raise Invalid(f"there is no type {unknown[0]!r}", hint=f"There are {', '.join(LISTINGS)}.")
    shown = output.chosen(COLUMNS, columns, long=long or all_projects)
    with at.read(project=project, all_projects=all_projects) as (session, ctx):
        hits = finding.search(session, ctx, " ".join(text), kinds=kinds or None, limit=limit)
    output.many(shown, [vars(hit) for hit in hits], format=format)


app.command()(extended(_found, _search, output_options()))
