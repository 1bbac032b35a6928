"""What is changed about images: `set`, `unset`, `delete`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli import report
from tui.cli.caller import caller
from tui.cli.commands import each, leave, names_of
from tui.cli.nouns.images.noun import (
    CommunityFlag,
    ImageName,
    ImageNames,
    PrivateFlag,
    ProtectedOption,
    PublicFlag,
    SharedFlag,
    VisibilityOption,
    chosen_visibility,
)
from tui.cli.options import PropertyOption, UnsetOption, pairs


def set_(
    image: ImageName,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Rename it.")] = None,
    min_disk: Annotated[int | None, typer.Option("--min-disk", metavar="GIB", min=0)] = None,
    min_ram: Annotated[int | None, typer.Option("--min-ram", metavar="MIB", min=0)] = None,
    disk_format: Annotated[
        str | None, typer.Option("--disk-format", metavar="FORMAT", help="While it has no bytes yet.")
    ] = None,
    public: PublicFlag = False,
    private: PrivateFlag = False,
    shared: SharedFlag = False,
    community: CommunityFlag = False,
    visibility: VisibilityOption = None,
    protected: ProtectedOption = None,
    hidden: Annotated[bool | None, typer.Option("--hidden/--unhidden", help="Whether lists leave it out.")] = None,
    property: PropertyOption = None,
    architecture: Annotated[str | None, typer.Option("--architecture", metavar="ARCH")] = None,
    os_distro: Annotated[str | None, typer.Option("--os-distro", metavar="DISTRO")] = None,
    os_version: Annotated[str | None, typer.Option("--os-version", metavar="VERSION")] = None,
    kernel_id: Annotated[
        str | None, typer.Option("--kernel-id", metavar="IMAGE", help="Booted with this aki image.")
    ] = None,
    ramdisk_id: Annotated[
        str | None, typer.Option("--ramdisk-id", metavar="IMAGE", help="Booted with this ari image.")
    ] = None,
    activate: Annotated[
        bool | None, typer.Option("--activate/--deactivate", help="Whether anybody may use it (admin).")
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="List it: a shared one that your project was given.")
    ] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Do not list it.")] = False,
    pending: Annotated[bool, typer.Option("--pending", help="Say nothing about it yet.")] = False,
    project: Annotated[
        str | None,
        typer.Option(
            "--project",
            metavar="PROJECT",
            help="Whose --accept, --reject or --pending it is.",
            autocompletion=names_of("project"),
        ),
    ] = None,
) -> None:
    """Change an image, or say what your project thinks of one that is shared with it. Bytes never change."""
    from core.images import images, members

    said = [word for word, given in (("accepted", accept), ("rejected", reject), ("pending", pending)) if given]
    if len(said) > 1:
        raise Invalid("a membership is one thing", hint="One of --accept, --reject, --pending.")
    if project is not None and not said:
        raise Invalid(
            "--project belongs to --accept, --reject or --pending", hint="skydeck image add project gives it."
        )
    named = {
        "architecture": architecture,
        "os_distro": os_distro,
        "os_version": os_version,
        "kernel_id": kernel_id,
        "ramdisk_id": ramdisk_id,
    }
    changes: dict[str, Any] = {
        "name": name,
        "visibility": chosen_visibility(visibility, public=public, private=private, shared=shared, community=community),
        "protected": protected,
        "hidden": hidden,
        "disk_format": disk_format,
        "min_disk_gb": min_disk,
        "min_ram_mb": min_ram,
        "properties": (pairs(property) | {key: value for key, value in named.items() if value is not None}) or None,
    }
    changes = {key: value for key, value in changes.items() if value is not None}
    if not changes and not said and activate is None:
        raise Invalid("nothing to set was named", hint="skydeck image set --help lists what there is.")
    with caller().write() as (session, ctx):
        id = images.find(session, ctx, image).id
        if changes:
            images.set(session, ctx, id, **changes)
        if said:
            members.set(session, ctx, id, status=said[0], project=project)
        if activate is not None:
            (images.reactivate if activate else images.deactivate)(session, ctx, id)


def unset(image: ImageName, property: UnsetOption = None) -> None:
    """Remove properties of an image."""
    from core.images import images

    with caller().write() as (session, ctx):
        images.unset(session, ctx, image, properties=tuple(property or ()))


def delete(names: ImageNames) -> None:
    """Delete images. Servers made from them keep running."""
    from core.images import bring

    at = caller()

    def one(name: str) -> None:
        image = bring.remove(at.store, at.config, at.who(), name)
        report.notice(f"image {image.name}: deleted")

    leave(each(names, one)[1])
