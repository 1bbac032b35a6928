"""`skydeck volume attachment`: which server has which volume."""

from __future__ import annotations

from typing import Any

from tui.cli.commands import add_list, add_show, group
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment
from tui.cli.nouns.volumes.noun import volume_id


def _find(session: Any, ctx: Any, id: str) -> Row:
    return listed(session, ctx, "attachment", id)


def _server(session: Any, ctx: Any, name: str) -> str:
    from core.compute.instances import verbs

    return verbs.find(session, ctx, name).id


ATTACHMENT = Noun(
    kind="attachment",
    word="volume attachment",
    columns=(
        column("ID", "id"),
        column("Volume ID", "volume_id"),
        column("Server ID", "server_id"),
        column("Status", "status"),
        long("Volume", "volume"),
        long("Server", "server"),
        long("Device", "device"),
        moment("Attached At", "attached_at", long=True),
    ),
    fields=(
        column("ID", "id"),
        column("Volume ID", "volume_id"),
        column("Instance ID", "server_id"),
        column("Status", "status"),
        column("Attach Mode", lambda row: "ro" if row["read_only"] else "rw"),
        moment("Attached At", "attached_at"),
        column("Device", "device"),
        column("Delete On Termination?", "delete_on_termination"),
        column("Tag", "tag"),
    ),
    find=_find,
    filters=(
        Filter(option="--volume-id", column="volume_id", help="Of this volume.", resolve=volume_id),
        Filter(option="--server", column="server_id", help="Of this server.", resolve=_server),
        Filter(option="--status", column="status", help="For example attached."),
    ),
)

app = group("Which server has which volume.")
add_list(app, ATTACHMENT, help="List attachments. `server add volume` makes them.")
add_show(app, ATTACHMENT, help="Show an attachment.")
