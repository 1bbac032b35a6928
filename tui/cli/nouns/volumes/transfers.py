"""`skydeck volume transfer request`: volumes handed to another project, with a key that is shown once."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, shows
from tui.cli.noun import Noun, Row, column, listed, long, moment
from tui.cli.nouns.volumes.noun import VolumeName


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.volumes import transfers

    return listed(session, ctx, "transfer", transfers.find(session, ctx, name).id)


TRANSFER = Noun(
    kind="transfer",
    word="volume transfer request",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("Volume", "volume_id"),
        long("Volume Name", "volume"),
        long("Project", "project_id"),
        moment("Created At", "created_at", long=True),
    ),
    fields=(
        moment("created_at", "created_at"),
        column("id", "id"),
        column("name", "name"),
        column("volume_id", "volume_id"),
    ),
    find=_find,
)

OFFERED = dataclasses.replace(TRANSFER, fields=(column("auth_key", "auth_key"), *TRANSFER.fields))
"""What a create prints: the one time the key is seen."""

ACCEPTED = dataclasses.replace(
    TRANSFER, fields=(column("id", "id"), column("name", "name"), column("volume_id", "volume_id"))
)

app = group("Volumes handed to another project.")
request = group("Volumes handed to another project, with a key that is shown once.")
app.add_typer(request, name="request")
add_list(request, TRANSFER, help="List what is offered.")
add_show(request, TRANSFER, help="Show an offer; its key is not shown again.")


@request.command()
@shows(OFFERED)
def create(
    volume: VolumeName,
    name: Annotated[str, typer.Option("--name", metavar="NAME")] = "",
) -> Row:
    """Offer a volume to whoever is told the key. It is shown once, here."""
    from core.volumes import transfers

    with caller().write() as (session, ctx):
        made, key = transfers.create(session, ctx, volume=volume, name=name)
        return _find(session, ctx, made.id) | {"auth_key": key}


@request.command()
@shows(ACCEPTED)
def accept(
    transfer_request: Annotated[str, typer.Argument(metavar="TRANSFER-REQUEST-ID")],
    auth_key: Annotated[str, typer.Option("--auth-key", metavar="KEY", help="As its owner was shown it.")],
) -> Row:
    """Take a volume that another project offers."""
    from core.volumes import transfers

    with caller().write() as (session, ctx):
        taken = transfers.accept(session, ctx, transfer_request, auth_key=auth_key)
        return {"id": taken.id, "name": taken.name, "volume_id": taken.volume_id}


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.volumes import transfers

    transfers.delete(session, ctx, name)


add_delete(request, TRANSFER, _delete, help="Take offers back.")
