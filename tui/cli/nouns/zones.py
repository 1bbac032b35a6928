"""`skydeck availability zone`: the zones hosts are in."""

from __future__ import annotations

from typing import Annotated

import typer

from tui.cli import output
from tui.cli.caller import caller
from tui.cli.commands import group
from tui.cli.noun import Row, column, long
from tui.cli.options import Format, extended, output_options

COLUMNS = (
    column("Zone Name", "name"),
    column("Zone Status", "status"),
    long("Hosts", "hosts"),
)

app = group("Availability zones.")
zone = group("Availability zones.")
app.add_typer(zone, name="zone")


def _list(long: Annotated[bool, typer.Option("--long", help="With their hosts.")] = False) -> None:
    """List availability zones (admin)."""


def _listed(*, long: bool, format: Format, columns: list[str] | None) -> None:
    from core import listing
    from core.lists import HOSTS

    caller().json_errors = format is Format.JSON
    zones: dict[str, Row] = {}
    with caller().read() as (session, ctx):
        for host in listing.page(session, ctx, HOSTS, sort="availability_zone,name"):
            name = host["availability_zone"]
            row = zones.setdefault(name, {"name": name, "status": "not available", "hosts": []})
            row["hosts"].append(host["name"])
            if host["enabled"]:
                row["status"] = "available"
    output.many(output.chosen(COLUMNS, columns, long=long), list(zones.values()), format=format)


zone.command("list")(extended(_listed, _list, output_options()))
