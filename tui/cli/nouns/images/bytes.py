"""How an image's bytes come in, and how they come out: `image create`, `image import`, `image save`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli import report, transfer, wait
from tui.cli.accepted import made
from tui.cli.caller import caller
from tui.cli.commands import Outcome, names_of, shows
from tui.cli.noun import Row
from tui.cli.nouns.images.noun import (
    IMAGE,
    CommunityFlag,
    ImageName,
    PrivateFlag,
    ProtectedOption,
    PublicFlag,
    SharedFlag,
    Visibility,
    VisibilityOption,
    chosen_visibility,
)
from tui.cli.options import PropertyOption, WaitOption, pairs


class Method(StrEnum):
    """How glance imports: here it is from a URL."""

    WEB_DOWNLOAD = "web-download"


ChecksumOption = Annotated[
    str | None,
    typer.Option(
        "--checksum",
        "--sha256",
        metavar="HEX|URL",
        help="What the bytes must hash to (sha256, sha512), or where a file of such sums is.",
    ),
]


@shows(IMAGE)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    disk_format: Annotated[
        str | None,
        typer.Option(
            "--disk-format",
            metavar="FORMAT",
            help="raw qcow2 vmdk vhd vhdx vdi iso aki ari; raw when it is not said, of the catalog what it is there.",
        ),
    ] = None,
    container_format: Annotated[
        str | None, typer.Option("--container-format", metavar="FORMAT", help="bare, or as the disk format.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Its bytes, from here.")] = None,
    url: Annotated[str | None, typer.Option("--url", "--uri", metavar="URL", help="Its bytes, from there.")] = None,
    catalog: Annotated[
        str | None,
        typer.Option("--catalog", metavar="ENTRY", help="A well-known cloud image: `image catalog list` has them."),
    ] = None,
    volume: Annotated[
        str | None,
        typer.Option("--volume", metavar="VOLUME", help="Its bytes, of this.", autocompletion=names_of("volume")),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also of a volume that a guest uses.")] = False,
    import_: Annotated[
        bool, typer.Option("--import", help="As openstack's client has it; a --url is imported in any case.")
    ] = False,
    checksum: ChecksumOption = None,
    min_disk: Annotated[int, typer.Option("--min-disk", metavar="GIB", min=0)] = 0,
    min_ram: Annotated[int, typer.Option("--min-ram", metavar="MIB", min=0)] = 0,
    public: PublicFlag = False,
    private: PrivateFlag = False,
    shared: SharedFlag = False,
    community: CommunityFlag = False,
    visibility: VisibilityOption = None,
    protected: ProtectedOption = None,
    hidden: Annotated[bool, typer.Option("--hidden", help="Lists leave it out.")] = False,
    store: Annotated[
        str, typer.Option("--store", metavar="STORE", help="Where its bytes are kept, of those configured.")
    ] = "file",
    property: PropertyOption = None,
    wait_: WaitOption = False,
) -> Row | Outcome:
    """Bring in an image from a file, a URL or a volume; with none of them, a record that `image import` fills.

    An interrupted one goes on when the same command is given again.
    """
    if disk_format is None and catalog is None:
        disk_format = "raw"
    if container_format not in (None, "bare", disk_format):
        raise Invalid(f"container format {container_format!r} is not taken", hint="bare; aki and ari for those.")
    if sum(each is not None for each in (file, url, volume, catalog)) > 1:
        raise Invalid("an image has its bytes from one place", hint="One of --file, --url, --catalog, --volume.")
    seen_by = chosen_visibility(visibility, public=public, private=private, shared=shared, community=community)
    seen_by = seen_by or Visibility.PRIVATE
    if volume is not None:
        return _upload(volume, name, disk_format or "raw", seen_by, force=force, until_done=wait_)
    record: dict[str, Any] = {
        "name": name,
        "disk_format": disk_format or "",
        "visibility": seen_by,
        "hidden": hidden,
        "store": store,
        "min_disk_gb": min_disk,
        "min_ram_mb": min_ram,
        "protected": bool(protected),
        "properties": pairs(property),
    }
    if file is None and url is None and catalog is None:
        if import_:
            raise Invalid("an import needs to know where from", hint="--url URL, or later: skydeck image import")
        return _record(record)
    from core.images import bring
    from core.images import catalog as known

    where: dict[str, Any] = {"path": file, "url": url, "entry": known.find(catalog) if catalog is not None else None}
    with caller().write() as (session, ctx):
        image = bring.start(session, ctx, **where, **record)
    return _bring(image.id, name, checksum=checksum, **where)


def _record(values: dict[str, Any]) -> Row:
    from core.images import images

    with caller().write() as (session, ctx):
        image = images.create(session, ctx, **values)
        report.notice(f"image {image.name}: waits for its bytes: skydeck image import --uri URL {image.id[:8]}")
        return IMAGE.find(session, ctx, image.id)


def _upload(volume: str, name: str, disk_format: str, visibility: str, *, force: bool, until_done: bool) -> Outcome:
    from core.volumes import upload

    return made(
        IMAGE,
        lambda session, ctx: upload.upload(
            session,
            ctx,
            caller().config,
            volume,
            image_name=name,
            disk_format=disk_format,
            visibility=visibility,
            force=force,
        ),
        until_done=until_done,
    )


def _bring(id: str, name: str, *, checksum: str | None, **where: Any) -> Row:
    """The bytes, with their progress shown."""
    from core.images import bring

    at = caller()
    ctx = at.who()
    try:
        with transfer.shown(name) as progress:
            bring.bring(at.store, at.config, ctx, id, expected_digest=checksum, progress=progress, **where)
    except KeyboardInterrupt:
        report.notice(f"{name}: interrupted; the same command goes on with it")
        raise typer.Exit(wait.INTERRUPTED) from None
    with at.read() as (session, ctx):
        return IMAGE.find(session, ctx, id)


@shows(IMAGE)
def import_(
    image: ImageName,
    uri: Annotated[str, typer.Option("--uri", metavar="URL", help="Its bytes, from there.")],
    method: Annotated[Method, typer.Option("--method", help="How.")] = Method.WEB_DOWNLOAD,
    checksum: ChecksumOption = None,
    wait_: WaitOption = False,
) -> Row:
    """Bring in the bytes of an image that is queued. It is waited for in any case."""
    with caller().read() as (session, ctx):
        row = IMAGE.find(session, ctx, image)
    return _bring(row["id"], row["name"], checksum=checksum, url=uri)


def save(
    image: ImageName,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Into this; else to standard output.")
    ] = None,
) -> None:
    """Write an image's bytes to a file, as they are stored."""
    from core.images import bring

    at = caller()
    with at.read() as (session, ctx):
        row = IMAGE.find(session, ctx, image)
    if file is None and sys.stdout.isatty():
        raise Invalid("an image is nothing for a terminal", hint="--file FILE, or pipe it to something.")
    with transfer.shown(row["name"]) as progress:
        bring.save(at.store, at.config, at.who(), row["id"], path=file, progress=progress)
