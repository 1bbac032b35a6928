"""What an image shows, in a list and alone, and the options that say who sees it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli.commands import name_of, names_of_many
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment, size


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
        long("Disk Format", "disk_format"),
        size("Size", "size", long=True),
        long("Checksum", "digest"),
        column("Status", "status"),
        long("Visibility", "visibility"),
        long("Protected", "protected"),
        long("Project", "project"),
        long("Members", "members", right=True),
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
        column("instance_uuid", "instance_id"),
        column("min_disk", "min_disk_gb"),
        column("min_ram", "min_ram_mb"),
        column("name", "name"),
        column("os_hash_algo", lambda row: "sha256" if row["digest"] else None),
        column("os_hash_value", "digest"),
        column("os_hidden", "hidden"),
        column("owner", "project_id"),
        column("properties", "properties"),
        column("protected", "protected"),
        size("size", "size"),
        column("status", "status"),
        column("stores", "store"),
        moment("updated_at", "updated_at"),
        size("virtual_size", "virtual_size"),
        column("visibility", "visibility"),
    ),
    find=_find,
    filters=(
        Filter(option="--status", column="status", help="For example active."),
        Filter(option="--disk-format", column="disk_format", help="For example qcow2."),
        Filter(option="--visibility", column="visibility", help="public, private, shared or community."),
        Filter(option="--hidden", column="hidden", help="Those that lists leave out.", flag=True),
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
SharedFlag = Annotated[bool, typer.Option("--shared", help="This project, and those it is given to.")]
CommunityFlag = Annotated[bool, typer.Option("--community", help="Everybody who knows its id.")]
ProtectedOption = Annotated[bool | None, typer.Option("--protected/--unprotected", help="Whether deleting is refused.")]


def chosen_visibility(
    visibility: Visibility | None, *, public: bool, private: bool, shared: bool, community: bool
) -> str | None:
    """The one that was named, in either way. Raises Invalid for two."""
    flags = {
        Visibility.PUBLIC: public,
        Visibility.PRIVATE: private,
        Visibility.SHARED: shared,
        Visibility.COMMUNITY: community,
    }
    named = [each for each, given in flags.items() if given]
    if visibility is not None:
        named.append(visibility)
    if len(named) > 1:
        raise Invalid(
            "visibility was named twice", hint="One of --public, --private, --shared, --community, --visibility."
        )
    return named[0] if named else None
