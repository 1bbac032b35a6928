"""What can be done to a volume."""

from __future__ import annotations

from typing import Any

from tui.verbs import (
    CLONE,
    COPY,
    DESCRIBE,
    EVENTS,
    NEW,
    OPEN,
    YAML,
    Confirm,
    Needs,
    Option,
    Pick,
    Reason,
    Row,
    Verb,
    deletion,
    editing,
)
from tui.views.policy import needs_role
from tui.views.volumes.cells import holders
from tui.views.volumes.forms import BACKUP, EDIT, EXTEND, IMAGE, OFFER, SNAPSHOT
from tui.views.wires import listed


def guarded(verb: str, *, force: bool = False) -> Any:
    """A disabled_reason of core's own guards."""

    def disabled(ctx: Any, row: Row) -> Reason | None:
        from core.volumes.guards import reason

        name = row["name"] or row["id"][:8]
        return reason(ctx, name=name, status=row["status"], verb=verb, force=force, holders=holders(row))

    return disabled


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.volumes import volumes

    return volumes.delete(session, ctx, id)


def _deletable(ctx: Any, row: Row) -> Reason | None:
    refused: Reason | None = guarded("delete")(ctx, row)
    if refused is None and row["snapshots"]:
        what = "a snapshot" if row["snapshots"] == 1 else f"{row['snapshots']} snapshots"
        return f"it has {what}", "Delete them first; skydeck volume delete --cascade does both."
    return refused


def _offers(session: Any, ctx: Any, row: Row) -> list[Option]:
    """The servers it can be given to, those on its own host first; those it can be taken from."""
    had = {each["server_id"] for each in row["attachments"]}
    options = [
        Option(
            value=f"off {each['server_id']}",
            label=f"take it from {each['server']}",
            note=f"the guest has it as {each['device']}" if each["device"] else "",
            tone="bad",
        )
        for each in row["attachments"]
    ]
    if had and not row["multiattach"]:
        return options
    servers = [
        server
        for server in listed(session, ctx, "instance", sort="name")
        if server["project_id"] == row["project_id"] and server["id"] not in had and server["launched_at"]
    ]
    servers.sort(key=lambda server: bool(row["host"]) and server["host"] != row["host"])
    for server in servers:
        reached = not row["host"] or server["host"] == row["host"]
        where = f"on {server['host']}" if reached else f"on {server['host']}; the volume is on {row['host']}"
        options.append(
            Option(
                value=f"on {server['id']}",
                label=f"give it to {server['name']}",
                note=f"{server['status']} {where}",
                tone="" if reached else "dim",
            )
        )
    return options


def _attach(session: Any, ctx: Any, config: Any, id: str, value: str) -> object:
    from core.compute.instances import volumes

    what, server = value.split()
    if what == "off":
        return volumes.detach(session, ctx, server, volume=id)
    return volumes.attach(session, ctx, config, server, volume=id)


def _attachable(ctx: Any, row: Row) -> Reason | None:
    refused: Reason | None = needs_role("volume:attach")(ctx, row)
    if refused is None and row["status"] not in ("available", "in-use"):
        return f"it is {row['status']}", "Wait for what runs on it."
    return refused


def _newest(session: Any, ctx: Any, row: Row) -> list[Option]:
    """Its newest snapshot: the one thing it can be reverted to."""
    found = listed(session, ctx, "snapshot", where={"volume_id": row["id"]}, sort="-created_at", limit=1)
    return [
        Option(
            value=each["id"],
            label=f"revert to {each['name'] or each['id'][:8]}",
            note="what is newer is lost",
            tone="bad",
        )
        for each in found
    ]


def _revert(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.volumes import volumes

    return volumes.revert(session, ctx, id, snapshot=value)


ATTACH = Verb(
    name="attach",
    key="A",
    label="attach",
    help="Give it to an instance, or take it back",
    needs=Needs.OBJECT,
    pick=Pick(
        title="Who has",
        load=_offers,
        none=("there is no instance to give it to", "Launch one: :instances, then n"),
    ),
    disabled_reason=_attachable,
    run=_attach,
    configured=True,
    done="changing who has",
)

VERBS = (
    OPEN,
    DESCRIBE,
    ATTACH,
    Verb(
        name="snapshot",
        key="I",
        label="snap",
        help="Take a snapshot",
        needs=Needs.OBJECT,
        form=SNAPSHOT,
        disabled_reason=guarded("snapshot", force=True),
    ),
    Verb(
        name="backup",
        key="B",
        label="backup",
        help="Back it up: whole, or what changed",
        needs=Needs.OBJECT,
        form=BACKUP,
        disabled_reason=guarded("backup", force=True),
    ),
    Verb(
        name="extend",
        key="f",
        label="extend",
        help="Grow it; a guest that has it sees that",
        needs=Needs.OBJECT,
        form=EXTEND,
        disabled_reason=guarded("extend"),
    ),
    NEW,
    CLONE,
    *editing(EDIT, help="Change name, type, bootable, read-only", disabled_reason=needs_role("volume:set")),
    deletion(_delete, help="Delete it, with all that is in it", disabled_reason=_deletable, confirm=Confirm.TYPE),
    Verb(
        name="revert",
        key="R",
        label="revert",
        help="Make it as it was at its newest snapshot",
        needs=Needs.OBJECT,
        pick=Pick(title="Revert", load=_newest, none=("it has no snapshot", "I takes one")),
        disabled_reason=guarded("revert"),
        run=_revert,
        done="reverting",
        footer=False,
    ),
    Verb(
        name="image",
        key="i",
        label="image",
        help="Make an image of it",
        needs=Needs.OBJECT,
        form=IMAGE,
        disabled_reason=guarded("upload", force=True),
        footer=False,
    ),
    Verb(
        name="offer",
        key="O",
        label="offer",
        help="Offer it to another project, with a key",
        needs=Needs.OBJECT,
        form=OFFER,
        disabled_reason=guarded("transfer"),
        footer=False,
    ),
    EVENTS,
    YAML,
    COPY,
)
