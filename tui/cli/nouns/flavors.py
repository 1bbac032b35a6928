"""`skydeck flavor`: the sizes an operator offers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, name_of, shows
from tui.cli.noun import Noun, Row, column, listed, long, number
from tui.cli.options import DescriptionOption, PropertyOption, UnsetOption, pairs


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.compute import flavors

    return listed(session, ctx, "flavor", flavors.find(session, ctx, name).id)


FLAVOR = Noun(
    kind="flavor",
    word="flavor",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        number("RAM", "ram_mb"),
        number("Disk", "disk_gb"),
        number("Ephemeral", "ephemeral_gb"),
        number("VCPUs", "vcpus"),
        column("Is Public", "is_public"),
        long("Swap", "swap_mb", right=True),
        long("Properties", "extra_specs"),
        long("Description", "description"),
        long("Servers", "used", right=True),
    ),
    fields=(
        column("OS-FLV-EXT-DATA:ephemeral", "ephemeral_gb"),
        column("description", "description"),
        column("disk", "disk_gb"),
        column("id", "id"),
        column("name", "name"),
        column("os-flavor-access:is_public", "is_public"),
        column("properties", "extra_specs"),
        column("ram", "ram_mb"),
        column("servers", "used"),
        column("swap", "swap_mb"),
        column("vcpus", "vcpus"),
    ),
    find=_find,
)

app = group("Sizes of servers.")
add_list(app, FLAVOR, help="List flavors.")
add_show(app, FLAVOR, help="Show a flavor.")

FlavorName = Annotated[str, name_of(FLAVOR)]


@app.command()
@shows(FLAVOR)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    ram: Annotated[int, typer.Option("--ram", metavar="MIB")] = 256,
    disk: Annotated[int, typer.Option("--disk", metavar="GIB", help="Root disk; 0: the image's size.")] = 0,
    vcpus: Annotated[int, typer.Option("--vcpus", metavar="N")] = 1,
    ephemeral: Annotated[int, typer.Option("--ephemeral", metavar="GIB", help="A second, empty disk.")] = 0,
    swap: Annotated[int, typer.Option("--swap", metavar="MIB")] = 0,
    public: Annotated[
        bool, typer.Option("--public/--private", help="For every project, or for those given it.")
    ] = True,
    id: Annotated[str | None, typer.Option("--id", metavar="ID", help="Instead of a new UUID.")] = None,
    description: DescriptionOption = None,
    property: PropertyOption = None,
) -> Row:
    """Create a flavor (admin)."""
    from core.compute import flavors

    with caller().write() as (session, ctx):
        made = flavors.create(
            session,
            ctx,
            name=name,
            ram_mb=ram,
            disk_gb=disk,
            vcpus=vcpus,
            ephemeral_gb=ephemeral,
            swap_mb=swap,
            is_public=public,
            id=id if id != "auto" else None,
            description=description or "",
            extra_specs=pairs(property),
        )
        session.flush()
        return _find(session, ctx, made.id)


@app.command("set")
def set_(
    name: FlavorName,
    description: DescriptionOption = None,
    property: PropertyOption = None,
    project: Annotated[
        str | None, typer.Option("--project", metavar="PROJECT", help="Give a private flavor to this project.")
    ] = None,
) -> None:
    """Change a flavor's description, properties or access. Its numbers never change."""
    from core.compute import flavors
    from core.identity import projects

    with caller().write() as (session, ctx):
        access = projects.find(session, ctx, project).id if project else None
        flavors.update(session, ctx, name, description=description, extra_specs=pairs(property), add_project=access)


@app.command()
def unset(name: FlavorName, property: UnsetOption = None) -> None:
    """Remove properties of a flavor."""
    from core.compute import flavors

    with caller().write() as (session, ctx):
        flavors.update(session, ctx, name, unset=tuple(property or ()))


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.compute import flavors

    flavors.delete(session, ctx, name)


add_delete(app, FLAVOR, _delete, help="Delete flavors. Servers keep the numbers they were made with.")
