"""`skydeck server add volume`, `remove volume`, `volume list`, `image create`: the disks of a server, outside it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tui.cli import output
from tui.cli.accepted import begin, made
from tui.cli.caller import caller
from tui.cli.commands import Outcome, group, names_of, shows
from tui.cli.noun import Row, column
from tui.cli.nouns.images.noun import IMAGE
from tui.cli.nouns.instances.noun import ServerName
from tui.cli.options import Format, PropertyOption, WaitOption, extended, output_options, pairs

COLUMNS = (
    column("ID", "volume_id"),
    column("Device", "device"),
    column("Server ID", "server_id"),
    column("Volume ID", "volume_id"),
    column("Tag", "tag"),
    column("Delete On Termination?", "delete_on_termination"),
    column("Attachment ID", "id"),
    column("Status", "status"),
)

VolumeName = Annotated[str, typer.Argument(metavar="VOLUME", help="Name or id.", autocompletion=names_of("volume"))]

app = group("The volumes of a server.")
image = group("Images of servers.")


def add_volume(
    server: ServerName,
    volume: VolumeName,
    device: Annotated[str, typer.Option("--device", metavar="DEVICE", help="A wish, e.g. /dev/vdb.")] = "",
    tag: Annotated[str, typer.Option("--tag", metavar="TAG", help="The guest is told it.")] = "",
    delete_on_termination: Annotated[
        bool,
        typer.Option(
            "--enable-delete-on-termination/--disable-delete-on-termination", help="Whether it goes with the server."
        ),
    ] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="The guest may only read it.")] = False,
    wait_: WaitOption = False,
) -> None:
    """Give a server a volume; a running guest sees it at once."""
    from core.compute.instances import volumes

    def attach(session: Any, ctx: Any) -> Any:
        return volumes.attach(
            session,
            ctx,
            caller().config,
            server,
            volume=volume,
            device=device,
            read_only=read_only,
            delete_on_termination=delete_on_termination,
            tag=tag,
        )

    begin(attach, f"server {server}: volume {volume}", until_done=wait_)


def remove_volume(server: ServerName, volume: VolumeName, wait_: WaitOption = False) -> None:
    """Take a volume from a server: the guest is asked, and has to let it go."""
    from core.compute.instances import volumes

    begin(
        lambda session, ctx: volumes.detach(session, ctx, server, volume=volume),
        f"server {server}: volume {volume}: detach",
        until_done=wait_,
    )


def _list(server: ServerName) -> None:
    """List the volumes of a server, the root disk first."""


def _listed(*, server: str, format: Format, columns: list[str] | None) -> None:
    caller().json_errors = format is Format.JSON
    with caller().read() as (session, ctx):
        rows = of_server(session, ctx, server)
    output.many(output.chosen(COLUMNS, columns), rows, format=format)


def of_server(session: Any, ctx: Any, server: str) -> list[Row]:
    """Its attachments, by device."""
    from core import listing
    from core.compute.instances import verbs
    from core.lists import LISTINGS

    found = verbs.find(session, ctx, server)
    return listing.page(session, ctx, LISTINGS["attachment"], where={"server_id": found.id}, sort="device")


app.command("list")(extended(_listed, _list, output_options()))


@app.callback()
def _volumes() -> None:
    """The volumes of a server."""


@image.command("create")
@shows(IMAGE)
def create_image(
    server: ServerName,
    name: Annotated[
        str | None, typer.Option("--name", metavar="IMAGE-NAME", help="Else it is called as the server is.")
    ] = None,
    property: PropertyOption = None,
    quiesce: Annotated[
        bool, typer.Option("--quiesce", help="Have the guest's agent freeze its file systems meanwhile.")
    ] = False,
    wait_: WaitOption = False,
) -> Outcome:
    """Make an image of a server's disk as it is now; it keeps running."""
    from core.compute.instances import snapshots

    return made(
        IMAGE,
        lambda session, ctx: snapshots.create_image(
            session,
            ctx,
            caller().config,
            server,
            name=name or server,
            properties=pairs(property),
            quiesce=quiesce,
        ),
        until_done=wait_,
    )


@image.callback()
def _images() -> None:
    """Images of servers."""
