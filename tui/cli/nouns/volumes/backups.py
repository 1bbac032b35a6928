"""`skydeck volume backup`: volumes kept in another place, and proven to be there."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from core.errors import Conflict, Invalid
from tui.cli import wait
from tui.cli.accepted import made, operate
from tui.cli.caller import caller
from tui.cli.commands import Outcome, add_list, add_show, group, name_of, names_of, names_of_many, shows
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment, number, size
from tui.cli.nouns.volumes.noun import NewName, VolumeName, fault, volume_id
from tui.cli.options import DescriptionOption, WaitOption


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.volumes import backups

    return listed(session, ctx, "backup", backups.find(session, ctx, name).id)


BACKUP = Noun(
    kind="backup",
    word="volume backup",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("Description", "description"),
        column("Status", "status"),
        number("Size", "size_gb"),
        column("Incremental", "incremental"),
        moment("Created At", "created_at"),
        long("Volume", "volume_name"),
        long("Container", "container"),
        size("Stored", "stored_bytes", long=True),
        moment("Verified At", "verified_at", long=True),
        moment("Proven At", "proven_at", long=True),
        long("Project", "project"),
    ),
    fields=(
        column("container", "container"),
        moment("created_at", "created_at"),
        moment("data_timestamp", "data_at"),
        column("description", "description"),
        column("fail_reason", "fault", human=fault),
        column("has_dependent_backups", lambda row: row["dependants"] > 0),
        column("id", "id"),
        column("is_incremental", "incremental"),
        moment("last_proven_at", "proven_at"),
        moment("last_verified_at", "verified_at"),
        column("name", "name"),
        column("object_count", "object_count"),
        column("parent_id", "parent_id"),
        column("project_id", "project_id"),
        column("size", "size_gb"),
        column("snapshot_id", "snapshot_id"),
        column("status", "status"),
        size("stored", "stored_bytes"),
        moment("updated_at", "updated_at"),
        column("user_id", "user_id"),
        column("volume_id", "volume_id"),
        column("volume_name", "volume_name"),
    ),
    find=_find,
    filters=(
        Filter(option="--status", column="status", help="For example available or error."),
        Filter(option="--volume", column="volume_id", help="Of this volume.", resolve=volume_id),
        Filter(option="--container", column="container", help="In this repository."),
    ),
)

RESTORED = dataclasses.replace(
    BACKUP,
    fields=(column("id", "id"), column("volume_id", "volume_id"), column("volume_name", "volume_name")),
)
"""What a restore prints."""

BackupName = Annotated[str, name_of(BACKUP)]
BackupNames = Annotated[list[str], names_of_many(BACKUP)]

app = group("Volumes kept in another place, and proven to be there.")
add_list(app, BACKUP, help="List backups.")
add_show(app, BACKUP, help="Show a backup, and when it was last proven.")


@app.command()
@shows(BACKUP)
def create(
    volume: VolumeName,
    name: Annotated[str, typer.Option("--name", metavar="NAME")] = "",
    description: DescriptionOption = None,
    container: Annotated[
        str | None, typer.Option("--container", metavar="REPOSITORY", help="Where to; else the configured one.")
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(
            "--snapshot", metavar="SNAPSHOT", help="Of it as it was then.", autocompletion=names_of("snapshot")
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also of a volume that a guest uses.")] = False,
    incremental: Annotated[
        bool, typer.Option("--incremental/--no-incremental", help="Only what changed since the newest one.")
    ] = False,
    wait_: WaitOption = False,
) -> Outcome:
    """Back a volume up: whole, or what changed since its newest backup."""
    from core.volumes import backups

    return made(
        BACKUP,
        lambda session, ctx: backups.create(
            session,
            ctx,
            caller().config,
            volume=volume,
            name=name,
            description=description or "",
            incremental=incremental,
            force=force,
            snapshot=snapshot,
            container=container,
        ),
        until_done=wait_,
    )


@app.command()
@shows(RESTORED)
def restore(
    backup: BackupName,
    volume: Annotated[
        str | None,
        typer.Argument(
            metavar="VOLUME",
            help="An existing one, with --force; else what the new one is called.",
            autocompletion=names_of("volume"),
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Into an existing volume: what is in it is overwritten.")
    ] = False,
    wait_: WaitOption = False,
) -> Outcome:
    """Restore a backup to a new volume, or over an existing one."""
    from core.volumes import backups

    with caller().write() as (session, ctx):
        there = None if volume is None else _existing(session, ctx, volume)
        if there is not None and not force:
            raise Conflict(
                f"there is a volume {volume} already",
                hint="--force overwrites what is in it; another name makes a new one.",
            )
        if there is None and force and volume is None:
            raise Invalid("--force belongs to a volume that is named", hint="skydeck volume backup restore --help")
        target, operation = backups.restore(
            session, ctx, caller().config, backup, volume=there, name=volume if there is None else None
        )
        result = {
            "id": backups.find(session, ctx, backup).id,
            "volume_id": target.id,
            "volume_name": target.name,
        }
    return Outcome(result, wait.finish([operation]) if wait_ else 0)


def _existing(session: Any, ctx: Any, name: str) -> str | None:
    from core.errors import NotFound
    from core.volumes import volumes

    try:
        return str(volumes.find(session, ctx, name).id)
    except NotFound:
        return None


@app.command("set")
def set_(backup: BackupName, name: NewName = None, description: DescriptionOption = None) -> None:
    """Change a backup's name or description."""
    from core.volumes import backups

    with caller().write() as (session, ctx):
        backups.set(session, ctx, backup, name=name, description=description)


@app.command()
def delete(
    names: BackupNames,
    force: Annotated[bool, typer.Option("--force", help="Also one that is in error (admin).")] = False,
    wait_: WaitOption = False,
) -> None:
    """Delete backups that no later one stands on."""
    from core.volumes import backups

    operate(
        names,
        lambda session, ctx, name: backups.delete(session, ctx, name, force=force),
        word="backup",
        doing="delete",
        until_done=wait_,
    )


@app.command()
def verify(names: BackupNames, wait_: WaitOption = False) -> None:
    """Read backups again, and compare every piece with its digest."""
    from core.volumes import backups

    operate(names, backups.verify, word="backup", doing="verify", until_done=wait_)


@app.command()
def drill(names: BackupNames, wait_: WaitOption = False) -> None:
    """Prove backups: restore each, boot it on an isolated network, and look whether it comes up."""
    from core.volumes import backups

    operate(
        names,
        lambda session, ctx, name: backups.drill(session, ctx, caller().config, name),
        word="backup",
        doing="drill",
        until_done=wait_,
    )
