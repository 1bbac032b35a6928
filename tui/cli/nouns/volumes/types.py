"""`skydeck volume type`: the kinds of volumes an operator offers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, names_of, shows
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment
from tui.cli.nouns.volumes.noun import NewName, TypeName
from tui.cli.options import DescriptionOption, PropertyOption, UnsetOption, pairs

MULTIATTACH = ("multiattach", "<is> True")
"""The extra spec cinder's --multiattach stands for."""


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.volumes import types

    return listed(session, ctx, "volume_type", types.find(session, ctx, name).id)


VOLUME_TYPE = Noun(
    kind="volume_type",
    word="volume type",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("Is Public", "is_public"),
        long("Description", "description"),
        long("Properties", "extra_specs"),
        long("Default", "is_default"),
        long("QoS", "qos"),
        long("Volumes", "volumes", right=True),
    ),
    fields=(
        column("access_project_ids", "projects"),
        moment("created_at", "created_at"),
        column("description", "description"),
        column("id", "id"),
        column("is_default", "is_default"),
        column("is_public", "is_public"),
        column("name", "name"),
        column("properties", "extra_specs"),
        column("qos_specs", "qos"),
        column("qos_specs_id", "qos_id"),
        column("volumes", "volumes"),
    ),
    find=_find,
    filters=(
        Filter(option="--public/--private", column="is_public", help="For every project, or for some.", flag=True),
        Filter(option="--default", column="is_default", help="What a volume is that names none.", flag=True),
    ),
)

AccessOption = Annotated[
    str | None,
    typer.Option(
        "--project", metavar="PROJECT", help="Of a private type: who may use it.", autocompletion=names_of("project")
    ),
]
PublicOption = Annotated[
    bool | None, typer.Option("--public/--private", help="For every project, or for those given it.")
]
MultiattachFlag = Annotated[bool, typer.Option("--multiattach", help="Several servers may have its volumes at once.")]

app = group("The kinds of volumes an operator offers.")
add_list(app, VOLUME_TYPE, help="List volume types.")
add_show(app, VOLUME_TYPE, help="Show a volume type.")


def _specs(property: list[str] | None, *, multiattach: bool) -> dict[str, str]:
    return pairs(property) | ({MULTIATTACH[0]: MULTIATTACH[1]} if multiattach else {})


@app.command()
@shows(VOLUME_TYPE)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    description: DescriptionOption = None,
    public: PublicOption = None,
    property: PropertyOption = None,
    multiattach: MultiattachFlag = False,
    project: AccessOption = None,
    default: Annotated[bool, typer.Option("--default", help="What a volume is that names none.")] = False,
) -> Row:
    """Create a volume type (admin). --property volume_backend_name=BACKEND says where its volumes are kept."""
    from core.volumes import types

    if project is not None and public is not False:
        raise Invalid("--project belongs to --private", hint="A public type is every project's.")
    with caller().write() as (session, ctx):
        made = types.create(
            session,
            ctx,
            name=name,
            description=description or "",
            public=public is not False,
            extra_specs=_specs(property, multiattach=multiattach),
            default=default,
        )
        if project is not None:
            types.add_access(session, ctx, made.id, project)
        return _find(session, ctx, made.id)


@app.command("set")
def set_(
    volume_type: TypeName,
    name: NewName = None,
    description: DescriptionOption = None,
    property: PropertyOption = None,
    multiattach: MultiattachFlag = False,
    project: AccessOption = None,
    public: PublicOption = None,
    default: Annotated[bool, typer.Option("--default", help="What a volume is that names none.")] = False,
) -> None:
    """Change a volume type (admin)."""
    from core.volumes import types

    changes: dict[str, Any] = {"name": name, "description": description, "public": public}
    changes["extra_specs"] = _specs(property, multiattach=multiattach) or None
    changes["default"] = default or None
    changes = {key: value for key, value in changes.items() if value is not None}
    with caller().write() as (session, ctx):
        found = types.find(session, ctx, volume_type)
        if changes:
            types.set(session, ctx, found.id, **changes)
        if project is not None:
            types.add_access(session, ctx, found.id, project)


@app.command()
def unset(volume_type: TypeName, property: UnsetOption = None, project: AccessOption = None) -> None:
    """Remove properties of a volume type, or a project's access to it (admin)."""
    from core.volumes import types

    with caller().write() as (session, ctx):
        found = types.find(session, ctx, volume_type)
        if property:
            types.unset(session, ctx, found.id, extra_specs=tuple(property))
        if project is not None:
            types.remove_access(session, ctx, found.id, project)


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.volumes import types

    types.delete(session, ctx, name)


add_delete(app, VOLUME_TYPE, _delete, help="Delete volume types that no volume is of.")
