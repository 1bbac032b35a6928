"""`skydeck image add project`, `remove project`, `member list`: who a shared image is shown to."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.errors import NotFound
from tui.cli.caller import caller
from tui.cli.commands import add_list, group, names_of, shows
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment
from tui.cli.nouns.images.noun import ImageName

ProjectName = Annotated[str, typer.Argument(metavar="PROJECT", help="Name or id.", autocompletion=names_of("project"))]


def _image(session: Any, ctx: Any, name: str) -> str:
    from core.images import images

    return str(images.find(session, ctx, name).id)


def _find(session: Any, ctx: Any, id: str) -> Row:
    return listed(session, ctx, "image_member", id)


MEMBER = Noun(
    kind="image_member",
    word="image member",
    columns=(
        column("Image ID", "image_id"),
        column("Member ID", "member_id"),
        column("Status", "status"),
        long("Project", "member"),
        long("Image", "image"),
        long("Owner", "owner"),
        moment("Created At", "created_at", long=True),
    ),
    fields=(
        moment("created_at", "created_at"),
        column("image_id", "image_id"),
        column("member_id", "member_id"),
        column("status", "status"),
        moment("updated_at", "updated_at"),
    ),
    find=_find,
    filters=(
        Filter(option="IMAGE", column="image_id", help="Of this image.", resolve=_image, positional=True),
        Filter(option="--status", column="status", help="pending, accepted or rejected."),
    ),
)

add = group("Give an image to a project.")
remove = group("Take it back.")
app = group("Who a shared image is shown to.")
add_list(app, MEMBER, help="List the projects that images are shared with.")


def _member(session: Any, ctx: Any, image: str, project: str) -> Row:
    from core import listing
    from core.lists import LISTINGS

    rows = listing.page(session, ctx, LISTINGS["image_member"], where={"image_id": _image(session, ctx, image)})
    for row in rows:
        if project in (row["member_id"], row["member"]):
            return row
    raise NotFound(f"image {image} is not shared with {project}", hint="skydeck image add project shares it.")


@app.command("get")
@shows(MEMBER)
def get(image: ImageName, project: ProjectName) -> Row:
    """Show what a project said about an image that is shared with it."""
    with caller().read() as (session, ctx):
        return _member(session, ctx, image, project)


@add.command("project")
@shows(MEMBER)
def add_project(image: ImageName, project: ProjectName) -> Row:
    """Show a shared image to a project; it lists it when it has accepted."""
    from core.images import members

    with caller().write() as (session, ctx):
        members.add(session, ctx, image, project)
        return _member(session, ctx, image, project)


@remove.command("project")
def remove_project(image: ImageName, project: ProjectName) -> None:
    """Show an image to a project no longer. Servers made from it keep running."""
    from core.images import members

    with caller().write() as (session, ctx):
        members.remove(session, ctx, image, project)


@add.callback()
def _add() -> None:
    """Give an image to a project."""


@remove.callback()
def _remove() -> None:
    """Take an image back from a project."""
