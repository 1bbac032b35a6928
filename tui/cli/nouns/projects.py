"""`skydeck project`: what owns everything."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tui.cli import plans
from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, name_of, shows
from tui.cli.noun import Noun, Row, column, listed, long
from tui.cli.options import DescriptionOption, Format, FormatOption
from tui.cli.plans import DryRunOption, YesOption


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.identity import projects

    return listed(session, ctx, "project", projects.find(session, ctx, name).id)


PROJECT = Noun(
    kind="project",
    word="project",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        long("Description", "description"),
        long("Enabled", "enabled"),
        long("Servers", "instances", right=True),
    ),
    fields=(
        column("description", "description"),
        column("enabled", "enabled"),
        column("id", "id"),
        column("name", "name"),
        column("servers", "instances"),
    ),
    find=_find,
)

app = group("Projects.")
add_list(app, PROJECT, help="List projects.")
add_show(app, PROJECT, help="Show a project.")

ProjectName = Annotated[str, name_of(PROJECT)]


@app.command()
@shows(PROJECT)
def create(name: Annotated[str, typer.Argument(metavar="NAME")], description: DescriptionOption = None) -> Row:
    """Create a project (admin)."""
    from core.identity import projects

    with caller().write() as (session, ctx):
        made = projects.create(session, ctx, name=name, description=description or "")
        return _find(session, ctx, made.id)


@app.command("set")
def set_(
    project: ProjectName,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Rename it.")] = None,
    description: DescriptionOption = None,
    enable: Annotated[bool | None, typer.Option("--enable/--disable", help="Let it be worked in, or not.")] = None,
) -> None:
    """Change a project (admin)."""
    from core.identity import projects

    with caller().write() as (session, ctx):
        projects.update(session, ctx, project, name=name, description=description, enabled=enable)


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.identity import projects

    projects.delete(session, ctx, name)


add_delete(app, PROJECT, _delete, help="Delete projects that own nothing (admin).")


@app.command()
def purge(
    project: ProjectName, dry_run: DryRunOption = False, yes: YesOption = False, format: FormatOption = Format.TABLE
) -> None:
    """Delete a project and all it owns, by a plan: what goes, in which order, and what blocks it (admin)."""
    plans.carry_out("project.delete", project, dry_run=dry_run, yes=yes, format=format)
