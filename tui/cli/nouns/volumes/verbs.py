"""The verbs on volumes: made, changed, grown, retyped, reverted, deleted."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli import report, wait
from tui.cli.accepted import became, begin, made, operate
from tui.cli.caller import caller
from tui.cli.commands import Outcome, leave, names_of, shows
from tui.cli.nouns.volumes.noun import VOLUME, NewName, NoPropertyFlag, SnapshotName, VolumeName, VolumeNames
from tui.cli.options import AllProjectsOption, DescriptionOption, PropertyOption, UnsetOption, WaitOption, pairs


class Migration(StrEnum):
    """Whether a retype may copy the volume to another backend."""

    NEVER = "never"
    ON_DEMAND = "on-demand"


BootableOption = Annotated[bool | None, typer.Option("--bootable/--non-bootable", help="Whether servers boot it.")]
ReadOnlyOption = Annotated[
    bool | None, typer.Option("--read-only/--read-write", help="Whether a guest may only read it.")
]
TypeOption = Annotated[
    str | None,
    typer.Option("--type", metavar="VOLUME-TYPE", help="Its type.", autocompletion=names_of("volume_type")),
]


ImagePropertyOption = Annotated[
    list[str] | None,
    typer.Option("--image-property", metavar="KEY=VALUE", help="As of the image it was made from; may be repeated."),
]


def _source(what: str, option: str, kind: str) -> Any:
    return typer.Option(option, metavar=kind.upper(), help=what, autocompletion=names_of(kind))


@shows(VOLUME)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")] = "",
    size: Annotated[
        int | None, typer.Option("--size", metavar="GIB", min=1, help="Needed unless it is made from something.")
    ] = None,
    type: TypeOption = None,
    image: Annotated[str | None, _source("Made from this image, and bootable.", "--image", "image")] = None,
    snapshot: Annotated[str | None, _source("As the volume was then.", "--snapshot", "snapshot")] = None,
    source: Annotated[str | None, _source("A copy of this one.", "--source", "volume")] = None,
    backup: Annotated[str | None, _source("What this backup holds.", "--backup", "backup")] = None,
    description: DescriptionOption = None,
    availability_zone: Annotated[str | None, typer.Option("--availability-zone", metavar="ZONE")] = None,
    property: PropertyOption = None,
    bootable: BootableOption = None,
    read_only: ReadOnlyOption = None,
    wait_: WaitOption = False,
) -> Outcome:
    """Create a volume: empty, or from an image, a snapshot, a volume or a backup."""
    from core.volumes import volumes

    sources = [each for each in (image, snapshot, source, backup) if each is not None]
    if len(sources) > 1:
        raise Invalid("a volume is made from one thing", hint="One of --image, --snapshot, --source, --backup.")
    if size is None and (image is not None or not sources):
        raise Invalid("a volume needs a size", hint="--size GIB; of a snapshot, volume or backup it is theirs.")

    at = caller()
    if backup is not None:
        from core.volumes import backups

        return made(
            VOLUME,
            lambda session, ctx: backups.restore(session, ctx, at.config, backup, name=name or None),
            until_done=wait_,
        )
    new, operation = volumes.create_kept(
        at.store,
        at.config,
        at.who(),
        name=name,
        size_gb=size,
        image=image,
        snapshot=snapshot,
        source=source,
        type=type,
        availability_zone=availability_zone,
        description=description or "",
        properties=pairs(property),
        bootable=bootable,
        read_only=bool(read_only),
    )
    return became(VOLUME, new, operation, until_done=wait_)


def set_(
    volume: VolumeName,
    name: NewName = None,
    size: Annotated[int | None, typer.Option("--size", metavar="GIB", help="Grow it to this.")] = None,
    description: DescriptionOption = None,
    no_property: NoPropertyFlag = False,
    property: PropertyOption = None,
    image_property: ImagePropertyOption = None,
    type: TypeOption = None,
    migration_policy: Annotated[
        Migration,
        typer.Option("--migration-policy", help="Whether a new type may move it to another backend."),
    ] = Migration.NEVER,
    bootable: BootableOption = None,
    read_only: ReadOnlyOption = None,
    wait_: WaitOption = False,
) -> None:
    """Change a volume: its name, size, type or properties. A size grows under a running guest too."""
    from core.volumes import volumes

    plain: dict[str, Any] = {"name": name, "description": description, "bootable": bootable, "read_only": read_only}
    plain = {key: value for key, value in plain.items() if value is not None}
    plain |= {"image_properties": pairs(image_property)} if image_property else {}
    values = pairs(property)
    if not plain and not values and not no_property and size is None and type is None:
        raise Invalid("nothing to set was named", hint="For example skydeck volume set --size 20 VOLUME")
    operations = []
    with caller().write() as (session, ctx):
        found = volumes.find(session, ctx, volume)
        if no_property and found.properties:
            volumes.unset(session, ctx, found.id, properties=tuple(found.properties))
        if plain or values:
            volumes.set(session, ctx, found.id, properties=values or None, **plain)
        if size is not None:
            operations.append(volumes.extend(session, ctx, found.id, size_gb=size))
        if type is not None:
            operations.append(
                volumes.retype(
                    session, ctx, caller().config, found.id, type=type, migration_policy=str(migration_policy)
                )
            )
    for operation in operations:
        doing = operation.kind.partition(".")[2]
        report.notice(f"volume {operation.object_name}: {doing} accepted, operation {operation.id[:8]}")
    leave(wait.finish(operations) if wait_ and operations else 0)


def unset(
    volume: VolumeName,
    property: UnsetOption = None,
    image_property: Annotated[list[str] | None, typer.Option("--image-property", metavar="KEY")] = None,
) -> None:
    """Remove properties of a volume."""
    from core.volumes import volumes

    with caller().write() as (session, ctx):
        volumes.unset(
            session, ctx, volume, properties=tuple(property or ()), image_properties=tuple(image_property or ())
        )


def delete(
    names: VolumeNames,
    cascade: Annotated[bool, typer.Option("--cascade", "--purge", help="With their snapshots.")] = False,
    force: Annotated[bool, typer.Option("--force", help="In whatever state they are (admin); never attached.")] = False,
    wait_: WaitOption = False,
    all_projects: AllProjectsOption = False,
) -> None:
    """Delete volumes, with all that is in them."""
    from core.volumes import volumes

    operate(
        names,
        lambda session, ctx, name: volumes.delete(session, ctx, name, cascade=cascade, force=force),
        word="volume",
        doing="delete",
        until_done=wait_,
        all_projects=all_projects,
    )


def revert(snapshot: SnapshotName, wait_: WaitOption = False) -> None:
    """Make a volume as it was at its newest snapshot: what was written since is dropped."""
    from core.volumes import snapshots, volumes

    def back(session: Any, ctx: Any) -> Any:
        found = snapshots.find(session, ctx, snapshot)
        return volumes.revert(session, ctx, found.volume_id, snapshot=found.id)

    begin(back, f"snapshot {snapshot}: revert to it", until_done=wait_)
