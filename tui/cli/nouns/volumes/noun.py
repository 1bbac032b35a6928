"""What a volume shows, in a list and alone."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tui.cli.commands import name_of, names_of, names_of_many
from tui.cli.noun import Filter, Noun, Row, column, entries, listed, long, moment, number


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.volumes import volumes

    return listed(session, ctx, "volume", volumes.find(session, ctx, name).id)


def attached(found: list[dict[str, Any]]) -> str:
    """As openstack's client tells people: a line per server."""
    return "\n".join(
        f"Attached to {each['server']} on {each['device']}" if each["device"] else f"Attached to {each['server']}"
        for each in found
    )


def _as_cinder(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Under cinder's names."""
    return [
        {
            "id": each["volume_id"],
            "attachment_id": each["id"],
            "volume_id": each["volume_id"],
            "server_id": each["server_id"],
            "host_name": each["host"],
            "device": each["device"],
        }
        for each in found
    ]


def _source(kind: str) -> Any:
    return lambda row: row["source_id"] if row["source_kind"] == kind else None


def fault(found: dict[str, Any] | None) -> str:
    return "" if found is None else "\n".join(part for part in (found.get("title"), found.get("hint")) if part)


VOLUME = Noun(
    kind="volume",
    word="volume",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("Status", "status"),
        number("Size", "size_gb"),
        long("Type", "type"),
        long("Bootable", "bootable"),
        column("Attached to", "attachments", human=attached, machine=_as_cinder),
        long("Properties", "properties"),
        long("Project", "project"),
        long("Availability Zone", "availability_zone"),
        long("Backend", "backend"),
        long("Host", "host"),
        moment("Created At", "created_at", long=True),
    ),
    fields=(
        entries("attachments", lambda row: _as_cinder(row["attachments"])),
        column("availability_zone", "availability_zone"),
        column("backend", "backend"),
        column("bootable", "bootable"),
        moment("created_at", "created_at"),
        column("description", "description"),
        column("fault", "fault", human=fault),
        column("id", "id"),
        moment("last_proven_at", "proven_at"),
        column("multiattach", "multiattach"),
        column("name", "name"),
        column("os-vol-host-attr:host", "host"),
        column("os-vol-tenant-attr:tenant_id", "project_id"),
        column("properties", "properties"),
        column("read_only", "read_only"),
        column("size", "size_gb"),
        column("snapshot_id", _source("snapshot")),
        column("source_volid", _source("volume")),
        column("status", "status"),
        column("type", "type"),
        moment("updated_at", "updated_at"),
        column("user_id", "user_id"),
        column("volume_image_metadata", "image_properties"),
    ),
    find=_find,
    filters=(
        Filter(option="--status", column="status", help="For example available, in-use or error."),
        Filter(option="--type", column="type", help="Of the volume type of this name."),
        Filter(option="--backend", column="backend", help="In the backend of this name."),
        Filter(option="--bootable/--non-bootable", column="bootable", help="Whether servers boot it.", flag=True),
    ),
)

VolumeName = Annotated[str, name_of(VOLUME)]
VolumeNames = Annotated[list[str], names_of_many(VOLUME)]
SnapshotName = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="Name or id.", autocompletion=names_of("snapshot"))
]
TypeName = Annotated[
    str, typer.Argument(metavar="VOLUME-TYPE", help="Name or id.", autocompletion=names_of("volume_type"))
]
NewName = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Rename it.")]
NoPropertyFlag = Annotated[bool, typer.Option("--no-property", help="Properties there were go first.")]


def volume_id(session: Any, ctx: Any, name: str) -> str:
    """Of a name that a filter was given."""
    return str(_find(session, ctx, name)["id"])
