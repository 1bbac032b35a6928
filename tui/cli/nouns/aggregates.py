"""`skydeck aggregate`: groups of hosts the scheduler matches flavors and projects against."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, name_of, names_of, shows
from tui.cli.noun import Noun, Row, column, listed, long
from tui.cli.options import PropertyOption, pairs


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.hosts import aggregates

    return listed(session, ctx, "aggregate", aggregates.find(session, ctx, name).id)


AGGREGATE = Noun(
    kind="aggregate",
    word="aggregate",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        long("Properties", "properties"),
        long("Hosts", "hosts"),
    ),
    fields=(
        column("hosts", "hosts"),
        column("id", "id"),
        column("name", "name"),
        column("properties", "properties"),
    ),
    find=_find,
)

app = group("Groups of hosts.")
add_list(app, AGGREGATE, help="List aggregates (admin).")
add_show(app, AGGREGATE, help="Show an aggregate (admin).")

add = group("Add a host to an aggregate.")
remove = group("Remove a host from an aggregate.")
app.add_typer(add, name="add")
app.add_typer(remove, name="remove")

AggregateName = Annotated[str, name_of(AGGREGATE)]
HostName = Annotated[str, typer.Argument(metavar="HOST", help="Name or id.", autocompletion=names_of("host"))]


@app.command()
@shows(AGGREGATE)
def create(name: Annotated[str, typer.Argument(metavar="NAME")], property: PropertyOption = None) -> Row:
    """Create an aggregate (admin)."""
    from core.hosts import aggregates

    with caller().write() as (session, ctx):
        made = aggregates.create(session, ctx, name=name, properties=pairs(property))
        return _find(session, ctx, made.id)


@add.command("host")
@shows(AGGREGATE)
def add_host(aggregate: AggregateName, host: HostName) -> Row:
    """Add a host to an aggregate (admin)."""
    from core.hosts import aggregates

    with caller().write() as (session, ctx):
        changed = aggregates.add_host(session, ctx, aggregate, host)
        session.flush()
        return _find(session, ctx, changed.id)


@remove.command("host")
@shows(AGGREGATE)
def remove_host(aggregate: AggregateName, host: HostName) -> Row:
    """Remove a host from an aggregate (admin)."""
    from core.hosts import aggregates

    with caller().write() as (session, ctx):
        changed = aggregates.remove_host(session, ctx, aggregate, host)
        session.flush()
        return _find(session, ctx, changed.id)


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.hosts import aggregates

    aggregates.delete(session, ctx, name)


add_delete(app, AGGREGATE, _delete, help="Delete aggregates (admin). Their hosts stay.")
