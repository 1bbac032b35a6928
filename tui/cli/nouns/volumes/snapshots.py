"""`skydeck volume snapshot`: volumes as they were at one moment."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tui.cli.accepted import made, operate
from tui.cli.caller import caller
from tui.cli.commands import Outcome, add_list, add_show, group, names_of, names_of_many, shows
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment, number
from tui.cli.nouns.volumes.noun import NewName, NoPropertyFlag, SnapshotName, fault, volume_id
from tui.cli.options import DescriptionOption, PropertyOption, UnsetOption, WaitOption, pairs


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.volumes import snapshots

    return listed(session, ctx, "snapshot", snapshots.find(session, ctx, name).id)


SNAPSHOT = Noun(
    kind="snapshot",
    word="volume snapshot",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("Description", "description"),
        column("Status", "status"),
        number("Size", "size_gb"),
        moment("Created At", "created_at", long=True),
        long("Volume", "volume"),
        long("Properties", "properties"),
        long("Project", "project"),
    ),
    fields=(
        moment("created_at", "created_at"),
        column("description", "description"),
        column("fault", "fault", human=fault),
        column("id", "id"),
        column("name", "name"),
        column("os-extended-snapshot-attributes:project_id", "project_id"),
        column("properties", "properties"),
        column("quiesced", "quiesced"),
        column("size", "size_gb"),
        column("status", "status"),
        moment("updated_at", "updated_at"),
        column("volume_id", "volume_id"),
        column("volume_name", "volume"),
    ),
    find=_find,
    filters=(
        Filter(option="--status", column="status", help="For example available or error."),
        Filter(option="--volume", column="volume_id", help="Of this volume.", resolve=volume_id),
    ),
)

app = group("Volumes as they were at one moment.")
add_list(app, SNAPSHOT, help="List snapshots.")
add_show(app, SNAPSHOT, help="Show a snapshot.")


@app.command()
@shows(SNAPSHOT)
def create(
    name: Annotated[str, typer.Argument(metavar="SNAPSHOT-NAME")],
    volume: Annotated[
        str | None,
        typer.Option(
            "--volume",
            metavar="VOLUME",
            help="Of this one; else of the one that is called as the snapshot is.",
            autocompletion=names_of("volume"),
        ),
    ] = None,
    description: DescriptionOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also under a running guest: as if its power had been cut then.")
    ] = False,
    quiesce: Annotated[
        bool, typer.Option("--quiesce", help="Have the guest's agent freeze its file systems meanwhile.")
    ] = False,
    property: PropertyOption = None,
    wait_: WaitOption = False,
) -> Outcome:
    """Take a snapshot of a volume."""
    from core.volumes import snapshots

    return made(
        SNAPSHOT,
        lambda session, ctx: snapshots.create(
            session,
            ctx,
            volume=volume or name,
            name=name,
            description=description or "",
            force=force,
            quiesce=quiesce,
            properties=pairs(property),
        ),
        until_done=wait_,
    )


@app.command("set")
def set_(
    snapshot: SnapshotName,
    name: NewName = None,
    description: DescriptionOption = None,
    no_property: NoPropertyFlag = False,
    property: PropertyOption = None,
) -> None:
    """Change a snapshot's name, description or properties."""
    from core.volumes import snapshots

    with caller().write() as (session, ctx):
        found = snapshots.find(session, ctx, snapshot)
        if no_property and found.properties:
            snapshots.unset(session, ctx, found.id, properties=tuple(found.properties))
        snapshots.set(session, ctx, found.id, name=name, description=description, properties=pairs(property) or None)


@app.command()
def unset(snapshot: SnapshotName, property: UnsetOption = None) -> None:
    """Remove properties of a snapshot."""
    from core.volumes import snapshots

    with caller().write() as (session, ctx):
        snapshots.unset(session, ctx, snapshot, properties=tuple(property or ()))


@app.command()
def delete(
    names: Annotated[list[str], names_of_many(SNAPSHOT)],
    wait_: WaitOption = False,
) -> None:
    """Delete snapshots. Volumes made from them stay."""
    from core.volumes import snapshots

    operate(names, snapshots.delete, word="snapshot", doing="delete", until_done=wait_)
