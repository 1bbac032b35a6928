"""`skydeck network`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tui.cli import report, wait
from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, each, group, leave, shows
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment
from tui.cli.options import DescriptionOption, WaitOption


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.network import networks

    found = networks.find(session, ctx, name)
    row = listed(session, ctx, "network", found.id) | {"description": found.description}
    _fill(session, ctx, [row])
    return row


def _fill(session: Any, ctx: Any, rows: list[Row]) -> None:
    from core.network import subnets

    for row in rows:
        row["subnets"] = [subnet.id for subnet in subnets.of_network(session, row["id"])]


NETWORK = Noun(
    kind="network",
    word="network",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("Subnets", "subnets"),
        long("CIDR", "cidr"),
        long("Status", "status"),
        long("Project", "project"),
        long("Shared", "shared"),
        long("MTU", "mtu", right=True),
        long("Ports", "ports", right=True),
    ),
    fields=(
        moment("created_at", "created_at"),
        column("description", "description"),
        column("id", "id"),
        column("mtu", "mtu"),
        column("name", "name"),
        column("ports", "ports"),
        column("project_id", "project_id"),
        column("shared", "shared"),
        column("status", "status"),
        column("subnets", "subnets"),
    ),
    find=_find,
    filters=(Filter(option="--status", column="status", help="In this status."),),
    fill=_fill,
)

app = group("Networks of a project's own.")
add_list(app, NETWORK, help="List networks.")
add_show(app, NETWORK, help="Show a network.")


@app.command()
@shows(NETWORK)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    mtu: Annotated[int | None, typer.Option("--mtu", metavar="BYTES")] = None,
    description: DescriptionOption = None,
) -> Row:
    """Create a network. It needs a subnet before a server gets an address from it."""
    from core.network import networks

    with caller().write() as (session, ctx):
        made = networks.create(
            session,
            ctx,
            caller().config,
            name=name,
            mtu=mtu,
            description=description or "",
        )
        return _find(session, ctx, made.id)


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.network import networks

    networks.delete(session, ctx, name)


add_delete(app, NETWORK, _delete, help="Delete networks that no server is on.")


@app.command()
def repair(
    names: Annotated[list[str], typer.Argument(metavar="NETWORK...", help="Names or ids.")],
    wait_: WaitOption = False,
) -> None:
    """Make networks anew on every host that has them (admin)."""

    def one(name: str) -> Any:
        from core.hosts import findings

        with caller().write() as (session, ctx):
            started = findings.repair_network(session, ctx, name)
        report.notice(f"network {name}: repair accepted on {len(started)} hosts")
        return started

    accepted, status = each(names, one)
    started = [operation for operations in accepted for operation in operations]
    leave(max(status, wait.finish(started)) if wait_ and started else status)
