"""`skydeck image`: what servers are made from, and how their bytes come in."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli import report, transfer, wait
from tui.cli.caller import caller
from tui.cli.commands import add_list, add_show, each, group, leave, name_of, names_of_many, shows
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment, size
from tui.cli.options import PropertyOption, UnsetOption, pairs


class Visibility(StrEnum):
    """Who sees an image."""

    PUBLIC = "public"
    PRIVATE = "private"
    SHARED = "shared"
    COMMUNITY = "community"


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.images import images

    found = images.find(session, ctx, name)
    more = {"container_format": found.container_format, "updated_at": found.updated_at}
    return listed(session, ctx, "image", found.id) | more


IMAGE = Noun(
    kind="image",
    word="image",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("Status", "status"),
        long("Disk Format", "disk_format"),
        size("Size", "size", long=True),
        long("Checksum", "digest"),
        long("Visibility", "visibility"),
        long("Protected", "protected"),
        long("Project", "project"),
        moment("Created At", "created_at", long=True),
        long("Error", "error"),
    ),
    fields=(
        column("checksum", "digest"),
        column("container_format", "container_format"),
        moment("created_at", "created_at"),
        column("disk_format", "disk_format"),
        column("error", "error"),
        column("id", "id"),
        column("min_disk", "min_disk_gb"),
        column("min_ram", "min_ram_mb"),
        column("name", "name"),
        column("owner", "project_id"),
        column("properties", "properties"),
        column("protected", "protected"),
        size("size", "size"),
        column("status", "status"),
        moment("updated_at", "updated_at"),
        size("virtual_size", "virtual_size"),
        column("visibility", "visibility"),
    ),
    find=_find,
    filters=(
        Filter(option="--status", column="status", help="For example active."),
        Filter(option="--disk-format", column="disk_format", help="For example qcow2."),
        Filter(option="--visibility", column="visibility", help="public, private, shared or community."),
    ),
)

ImageName = Annotated[str, name_of(IMAGE)]
ImageNames = Annotated[list[str], names_of_many(IMAGE)]
VisibilityOption = Annotated[
    Visibility | None,
    typer.Option("--visibility", help="Who sees it.", metavar="|".join(Visibility), show_choices=False),
]
PublicFlag = Annotated[bool, typer.Option("--public", help="Every project sees it (admin).")]
PrivateFlag = Annotated[bool, typer.Option("--private", help="This project alone sees it.")]
ProtectedOption = Annotated[bool | None, typer.Option("--protected/--unprotected", help="Whether deleting is refused.")]

app = group("Images of disks, kernels and ramdisks.")
add_list(app, IMAGE, help="List images.")
add_show(app, IMAGE, help="Show an image.")


def _visibility(visibility: Visibility | None, *, public: bool, private: bool) -> str | None:
    if sum((public, private, visibility is not None)) > 1:
        raise Invalid("visibility was named twice", hint="One of --public, --private, --visibility.")
    if public:
        return Visibility.PUBLIC
    return Visibility.PRIVATE if private else visibility


@app.command()
@shows(IMAGE)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    disk_format: Annotated[
        str, typer.Option("--disk-format", metavar="FORMAT", help="raw qcow2 vmdk vhd vhdx vdi iso aki ari")
    ] = "raw",
    container_format: Annotated[
        str | None, typer.Option("--container-format", metavar="FORMAT", help="bare, or as the disk format.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Its bytes, from here.")] = None,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="Its bytes, from there.")] = None,
    sha256: Annotated[str | None, typer.Option("--sha256", metavar="HEX", help="What the bytes must hash to.")] = None,
    min_disk: Annotated[int, typer.Option("--min-disk", metavar="GIB", min=0)] = 0,
    min_ram: Annotated[int, typer.Option("--min-ram", metavar="MIB", min=0)] = 0,
    public: PublicFlag = False,
    private: PrivateFlag = False,
    visibility: VisibilityOption = None,
    protected: ProtectedOption = None,
    property: PropertyOption = None,
) -> Row:
    """Bring in an image from a file or a URL. An interrupted one goes on when the same command is given again."""
    from core.images import bring

    if container_format not in (None, "bare", disk_format):
        raise Invalid(f"container format {container_format!r} is not taken", hint="bare; aki and ari for those.")
    at = caller()
    with at.write() as (session, ctx):
        image = bring.start(
            session,
            ctx,
            path=file,
            url=url,
            name=name,
            disk_format=disk_format,
            visibility=_visibility(visibility, public=public, private=private) or Visibility.PRIVATE,
            min_disk_gb=min_disk,
            min_ram_mb=min_ram,
            protected=bool(protected),
            properties=pairs(property),
        )
    try:
        with transfer.shown(name) as progress:
            bring.bring(
                at.store, at.config, ctx, image.id, path=file, url=url, expected_digest=sha256, progress=progress
            )
    except KeyboardInterrupt:
        report.notice(f"{name}: interrupted; the same command goes on with it")
        raise typer.Exit(wait.INTERRUPTED) from None
    with at.read() as (session, ctx):
        return _find(session, ctx, image.id)


@app.command("set")
def set_(
    image: ImageName,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Rename it.")] = None,
    min_disk: Annotated[int | None, typer.Option("--min-disk", metavar="GIB", min=0)] = None,
    min_ram: Annotated[int | None, typer.Option("--min-ram", metavar="MIB", min=0)] = None,
    public: PublicFlag = False,
    private: PrivateFlag = False,
    visibility: VisibilityOption = None,
    protected: ProtectedOption = None,
    property: PropertyOption = None,
) -> None:
    """Change an image. Its format and bytes never change."""
    from core.images import images

    with caller().write() as (session, ctx):
        images.update(
            session,
            ctx,
            image,
            name=name,
            visibility=_visibility(visibility, public=public, private=private),
            protected=protected,
            min_disk_gb=min_disk,
            min_ram_mb=min_ram,
            properties=pairs(property),
        )


@app.command()
def unset(image: ImageName, property: UnsetOption = None) -> None:
    """Remove properties of an image."""
    from core.images import images

    with caller().write() as (session, ctx):
        images.update(session, ctx, image, unset=tuple(property or ()))


@app.command()
def delete(names: ImageNames) -> None:
    """Delete images. Servers made from them keep running."""
    from core.images import bring

    at = caller()

    def one(name: str) -> None:
        image = bring.remove(at.store, at.config, at.who(), name)
        report.notice(f"image {image.name}: deleted")

    leave(each(names, one)[1])
