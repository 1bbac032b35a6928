"""`skydeck image cache`: which images hosts hold, and which they shall; and `image catalog`: well-known ones."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tui.cli import output, report, wait
from tui.cli.accepted import operate
from tui.cli.caller import caller
from tui.cli.commands import add_list, group, leave, names_of
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment, size
from tui.cli.nouns.hosts import HostNames
from tui.cli.nouns.images.noun import ImageName
from tui.cli.options import Format, WaitOption, extended, output_options


def _find(session: Any, ctx: Any, id: str) -> Row:
    return listed(session, ctx, "cached_image", id)


def _image(session: Any, ctx: Any, name: str) -> str:
    from core.images import images

    return str(images.find(session, ctx, name).digest or "none")


CACHED = Noun(
    kind="cached_image",
    word="cached image",
    columns=(
        column("Host", "host"),
        column("Image", "image"),
        size("Size", "size"),
        column("State", lambda row: "present" if row["present"] else "coming"),
        column("Pinned", "pinned"),
        column("Disks", "refs", right=True),
        long("Digest", "digest"),
        moment("Seen At", "seen_at", long=True),
    ),
    fields=(),
    find=_find,
    filters=(
        Filter(option="--host", column="host", help="On the host of this name."),
        Filter(option="--image", column="digest", help="This image.", resolve=_image),
    ),
)

HostsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--host", metavar="HOST", help="On this one; may be repeated. Else on all.", autocompletion=names_of("host")
    ),
]

app = group("Which images hosts hold, and which they shall.")
add_list(app, CACHED, help="List what hosts hold (admin).")


@app.command()
def prefetch(image: ImageName, host: HostsOption = None, wait_: WaitOption = False) -> None:
    """Bring an image to hosts before anybody launches from it (admin)."""
    from core.images import caching

    with caller().write() as (session, ctx):
        operations = caching.prefetch(session, ctx, image, hosts=tuple(host or ()))
    _told(operations, "prefetch", until_done=wait_)


def _told(operations: list[Any], doing: str, *, until_done: bool) -> None:
    for operation in operations:
        report.notice(f"image {operation.object_name}: {doing} accepted, operation {operation.id[:8]}")
    leave(wait.finish(operations) if until_done and operations else 0)


@app.command()
def pin(image: ImageName, host: HostsOption = None, wait_: WaitOption = False) -> None:
    """Keep an image on hosts, used or not (admin); where it is missing it is brought."""
    from core.images import caching

    with caller().write() as (session, ctx):
        operations = caching.pin(session, ctx, image, hosts=tuple(host or ()))
    _told(operations, "pin", until_done=wait_)


@app.command()
def unpin(image: ImageName, host: HostsOption = None) -> None:
    """Let an image go from hosts when nobody uses it (admin)."""
    from core.images import caching

    with caller().write() as (session, ctx):
        caching.unpin(session, ctx, image, hosts=tuple(host or ()))


@app.command()
def prune(names: HostNames, wait_: WaitOption = False) -> None:
    """Delete from hosts the images that no disk needs and nobody pinned (admin)."""
    from core.images import caching

    operate(names, caching.prune, word="host", doing="prune images", until_done=wait_)


# ---------------------------------------------------------------------------- the catalog

ENTRIES = (
    column("Name", "name"),
    column("Title", "title"),
    column("Login", "login"),
    column("URL", "url"),
    long("Disk Format", "disk_format"),
    long("Checksum", lambda row: row["digest"] or row["checksum_url"]),
    long("Min Disk", "min_disk_gb", right=True),
    long("Min RAM", "min_ram_mb", right=True),
    long("Properties", "properties"),
)

catalog = group("Well-known cloud images.")


def _list(long: Annotated[bool, typer.Option("--long", help="With more columns.")] = False) -> None:
    """List well-known cloud images: `image create --catalog NAME` brings one in."""


def _entries(*, long: bool, format: Format, columns: list[str] | None) -> None:
    from core.images import catalog as known

    caller().json_errors = format is Format.JSON
    fields = ("name", "title", "login", "url", "disk_format", "digest", "checksum_url", "min_disk_gb", "min_ram_mb")
    rows = [
        {each: getattr(entry, each) for each in fields} | {"properties": dict(entry.properties)}
        for entry in known.entries()
    ]
    output.many(output.chosen(ENTRIES, columns, long=long), rows, format=format)


catalog.command("list")(extended(_entries, _list, output_options()))


@catalog.callback()
def _catalog() -> None:
    """Well-known cloud images."""
