"""`skydeck quota`: how much a project may have."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli import output
from tui.cli.caller import caller
from tui.cli.commands import group, names_of
from tui.cli.noun import Column, Row, column, number
from tui.cli.options import Format, extended, option, output_options

RESOURCES = (
    "instances",
    "cores",
    "ram",
    "metadata_items",
    "injected_files",
    "injected_file_content_bytes",
    "injected_file_path_bytes",
    "key_pairs",
    "server_groups",
    "server_group_members",
    "networks",
    "subnets",
    "ports",
    "routers",
    "floating_ips",
    "security_groups",
    "security_group_rules",
    "rbac_policies",
    "volumes",
    "snapshots",
    "gigabytes",
    "backups",
    "backup_gigabytes",
    "per_volume_gigabytes",
    "images",
    "image_size",
)
"""Those of core.identity.quotas.DEFAULTS, named here so that `--help` needs no database toolkit."""

OF_A_TYPE = ("volumes", "snapshots", "gigabytes")
"""Those that may be limited for one volume type besides."""

_SHORT = {"security_groups": "--secgroups", "security_group_rules": "--secgroup-rules"}
"""What openstack's client calls some of them."""

DEFAULT_CLASS = "default"

COLUMNS: tuple[Column, ...] = (column("Resource", "resource"), number("Limit", "limit"))
USAGE = number("In Use", "used")

app = group("Quotas of projects.")

ProjectName = Annotated[
    str | None,
    typer.Argument(metavar="PROJECT", help="Name or id; yours when left out.", autocompletion=names_of("project")),
]


def _show(
    project: ProjectName = None,
    usage: Annotated[bool, typer.Option("--usage", help="With what is in use.")] = False,
    default: Annotated[
        bool, typer.Option("--default", help="What projects have that were given nothing else.")
    ] = False,
) -> None:
    """Show a project's quotas; -1 means unlimited."""


def _shown(*, project: str | None, usage: bool, default: bool, format: Format, columns: list[str] | None) -> None:
    from core.identity import projects, quotas

    caller().json_errors = format is Format.JSON
    with caller().read() as (session, ctx):
        if default:
            owner = DEFAULT_CLASS
        else:
            owner = projects.find(session, ctx, project).id if project else ctx.project_id
        rows: list[Row] = [
            {"resource": each.resource, "limit": each.limit, "used": each.used}
            for each in quotas.show(session, ctx, owner)
        ]
    shown = (*COLUMNS, USAGE) if usage and not default else COLUMNS
    output.many(output.chosen(shown, columns), rows, format=format)


app.command("show")(extended(_shown, _show, output_options()))


def _set(
    project: ProjectName = None,
    volume_type: Annotated[
        str | None,
        typer.Option(
            "--volume-type",
            metavar="VOLUME-TYPE",
            help="Of volumes of this type alone: --volumes, --snapshots, --gigabytes.",
            autocompletion=names_of("volume_type"),
        ),
    ] = None,
) -> None:
    """Set a project's quotas (admin), or with `default` as the project those of all that have none of their own."""


def _changed(*, project: str | None, volume_type: str | None, **given: Any) -> None:
    from core.identity import projects, quotas

    values = {resource: limit for resource, limit in given.items() if limit is not None}
    if not values:
        raise Invalid("no quota was named", hint="For example: skydeck quota set --cores 40 demo.")
    if volume_type is not None and not values.keys() <= set(OF_A_TYPE):
        raise Invalid("of a volume type alone not all can be limited", hint="--volumes, --snapshots, --gigabytes.")
    with caller().write() as (session, ctx):
        if volume_type is not None:
            from core.volumes import types

            name = types.find(session, ctx, volume_type).name
            values = {f"{resource}_{name}": limit for resource, limit in values.items()}
        if project == DEFAULT_CLASS:
            owner, called = DEFAULT_CLASS, DEFAULT_CLASS
        else:
            found = projects.find(session, ctx, project or ctx.project_id)
            owner, called = found.id, found.name
        quotas.update(session, ctx, owner, called, values)


def _options(resource: str) -> list[str]:
    named = f"--{resource.replace('_', '-')}"
    return [named, _SHORT[resource]] if resource in _SHORT else [named]


app.command("set")(
    extended(
        _changed,
        _set,
        [option(each, int | None, *_options(each), metavar="N", min=-1) for each in RESOURCES],
    )
)
