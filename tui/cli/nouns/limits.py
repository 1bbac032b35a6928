"""`skydeck limits show`: what the project may have and has, under the names of openstack's client."""

from __future__ import annotations

from typing import Annotated

import typer

from core.errors import Invalid
from tui.cli import output
from tui.cli.caller import caller
from tui.cli.commands import group, names_of
from tui.cli.noun import Row, column
from tui.cli.options import Format, extended, output_options

_NAMES = {
    # quota to (limit's name, use's name), as nova and cinder answer them
    "instances": ("maxTotalInstances", "totalInstancesUsed"),
    "cores": ("maxTotalCores", "totalCoresUsed"),
    "ram": ("maxTotalRAMSize", "totalRAMUsed"),
    "key_pairs": ("maxTotalKeypairs", ""),
    "metadata_items": ("maxServerMeta", ""),
    "injected_files": ("maxPersonality", ""),
    "injected_file_content_bytes": ("maxPersonalitySize", ""),
    "server_groups": ("maxServerGroups", "totalServerGroupsUsed"),
    "volumes": ("maxTotalVolumes", "totalVolumesUsed"),
    "snapshots": ("maxTotalSnapshots", "totalSnapshotsUsed"),
    "gigabytes": ("maxTotalVolumeGigabytes", "totalGigabytesUsed"),
    "backups": ("maxTotalBackups", "totalBackupsUsed"),
    "backup_gigabytes": ("maxTotalBackupGigabytes", "totalBackupGigabytesUsed"),
}

COLUMNS = (column("Name", "name"), column("Value", "value"))

app = group("What a project may have.")


def _show(
    absolute: Annotated[bool, typer.Option("--absolute", help="Limits, and what is in use.")] = False,
    project: Annotated[
        str | None,
        typer.Option("--project", metavar="PROJECT", help="Of this one.", autocompletion=names_of("project")),
    ] = None,
) -> None:
    """Show limits of compute and storage; -1 means unlimited."""


def _shown(*, absolute: bool, project: str | None, format: Format, columns: list[str] | None) -> None:
    from core.identity import projects, quotas

    if not absolute:
        raise Invalid("there are no rate limits here", hint="skydeck limits show --absolute")
    caller().json_errors = format is Format.JSON
    rows: list[Row] = []
    with caller().read() as (session, ctx):
        owner = projects.find(session, ctx, project).id if project else ctx.project_id
        for each in quotas.show(session, ctx, owner):
            limit, use = _NAMES.get(each.resource, ("", ""))
            if limit:
                rows.append({"name": limit, "value": each.limit})
            if use and each.used is not None:
                rows.append({"name": use, "value": each.used})
    output.many(output.chosen(COLUMNS, columns), sorted(rows, key=lambda row: str(row["name"])), format=format)


app.command("show")(extended(_shown, _show, output_options()))


@app.callback()
def _limits() -> None:
    """What a project may have."""
