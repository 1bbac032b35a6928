"""Volumes: disks that outlive instances."""

from __future__ import annotations

from typing import Any

from tui.progress import pace
from tui.text import duration
from tui.verbs import (
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
from tui.view import Cell, Column, Lines, Tab, View
from tui.views.cells import aged, compact, facts, named, plain, short, yes_no
from tui.views.pages import recent
from tui.views.volume_forms import BACKUP, EDIT, EXTEND, IMAGE, OFFER, SNAPSHOT
from tui.views.volume_new import NEW_FORM
from tui.views.wires import listed, table

STATUS: dict[str, tuple[str, str]] = {
    # status to (glyph, tone): never colour alone
    "available": ("+", "ok"),
    "in-use": ("*", "ok"),
    "awaiting-transfer": ("=", "warn"),
    "maintenance": ("=", "warn"),
    "deleted": ("x", "off"),
}
"""Whatever begins with `error` is bad; anything else is on its way."""

_SHORT = {
    "restoring-backup": "restoring",
    "awaiting-transfer": "offered",
    "error_extending": "error",
    "error_restoring": "error",
    "error_deleting": "error",
    "error_managing": "error",
    "error_backing-up": "error",
}
"""What a narrow column calls some of them: pages have cinder's own word, and the note says what went wrong."""

DEFAULT_TYPE = "__DEFAULT__"
"""cinder's name of the type every cloud begins with."""


def status(row: Row, now: int) -> Cell:
    """Glyph and word; what is under way with its percentage."""
    word = row["status"]
    glyph, tone = STATUS.get(word, ("!", "bad") if word.startswith("error") else ("~", "busy"))
    word = _SHORT.get(word, word)
    if row.get("operation_state") == "blocked":
        return f"! {word}", "bad"
    progress = f" {row['progress']}%" if row.get("progress") else ""
    return f"{glyph} {word}{progress}", tone


def note(row: Row, now: int) -> Cell:
    """What is being done and how long it takes still, what went wrong, or what it is."""
    if row.get("operation_state") == "blocked":
        return f"blocked at {row['step']}", "bad"
    if row.get("operation"):
        left = pace(row | {"state": row["operation_state"]}, now)
        doing = row["step"] or row["operation"].partition(".")[2]
        return f"{left}: {doing}" if left else doing, "busy"
    if row.get("fault"):
        return row["fault"].get("title", ""), "bad"
    return row.get("description", ""), "dim"


def attached(row: Row, now: int) -> Cell:
    """`web-01 vdb`; of several `web-01 +1`."""
    found = row["attachments"]
    if not found:
        return "-", "dim"
    first = found[0]["server"] or found[0]["server_id"][:8]
    if len(found) > 1:
        return f"{first} +{len(found) - 1}", ""
    return f"{first} {found[0]['device'].removeprefix('/dev/')}".strip(), ""


def type_(row: Row, now: int) -> Cell:
    return ("default", "dim") if row["type"] == DEFAULT_TYPE else plain("type")(row, now)


def size(row: Row, now: int) -> Cell:
    return f"{row['size_gb']}G", ""


def holders(row: Row) -> str:
    return ", ".join(each["server"] for each in row["attachments"])


def guarded(verb: str, *, force: bool = False) -> Any:
    """A disabled_reason of core's own guards."""

    def disabled(ctx: Any, row: Row) -> Reason | None:
        from core.volumes.guards import reason

        name = row["name"] or row["id"][:8]
        return reason(ctx, name=name, status=row["status"], verb=verb, force=force, holders=holders(row))

    return disabled


def _policy(rule: str) -> Any:
    from tui.views.policy import needs_role

    return needs_role(rule)


# ---------------------------------------------------------------------------- verbs


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
    refused: Reason | None = _policy("volume:attach")(ctx, row)
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
    *editing(EDIT, help="Change name, type, bootable, read-only", disabled_reason=_policy("volume:set")),
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


# ---------------------------------------------------------------------------- looking


def _proven(row: Row, now: int) -> str:
    at = row.get("proven_at")
    return f"{duration(now - at)} ago, by a restore drill" if at else "never: D on a backup of it"


def _source(row: Row) -> str:
    """`image debian-13`: what it was made from."""
    kind = row["source_kind"]
    named = row["image_properties"].get("image_name") if kind == "image" else None
    return f"{kind} {named or row['source_id'][:8]}" if kind else "empty"


_OF_THE_FILE = ("checksum", "container_format", "disk_format", "image_id", "image_name", "min_disk", "min_ram", "size")
"""What a volume knows of its image that says nothing about the volume."""


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines: Lines = []
    if row["fault"]:
        lines += [[("! ", "bad"), (row["fault"].get("title", ""), "bad")], [(f"  {row['fault'].get('hint', '')}", "")]]
        lines.append([("", "")])
    lines += facts(
        [
            ("status", row["status"]),
            ("size", f"{row['size_gb']} GiB"),
            ("type", row["type"]),
            ("backend", row["backend"]),
            ("bootable", "yes" if row["bootable"] else "no"),
            ("host", row["host"] or "shared by all"),
            ("read-only", "yes" if row["read_only"] else "no"),
            ("zone", row["availability_zone"]),
            ("made from", _source(row)),
            ("project", row["project"]),
        ],
        columns=2,
    )
    lines += facts([("proven", _proven(row, now)), ("about", row["description"])])
    shown = {key: value for key, value in row["image_properties"].items() if key not in _OF_THE_FILE} | row[
        "properties"
    ]
    lines += facts(sorted(shown.items()), label=max(12, *map(len, shown))) if shown else []
    lines += [[("", "")], *attachments(session, ctx, row, now)]
    return lines + recent(session, ctx, row, now)


def attachments(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    rows: list[list[str | Cell]] = [
        [
            each["server"],
            each["device"],
            each["host"],
            each["status"],
            "read-only" if each["read_only"] else "read, write",
            "goes with it" if each["delete_on_termination"] else "stays",
        ]
        for each in row["attachments"]
    ]
    heads = [("INSTANCE", 20), ("DEVICE", 10), ("HOST", 12), ("STATUS", 12), ("MODE", 11), ("WHEN IT ENDS", 12)]
    return table(heads, rows, none="nobody has it: A gives it to an instance")


def kept(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """Snapshots and backups, the newest first."""
    snaps: list[list[str | Cell]] = [
        [each["name"] or each["id"][:8], status(each, now), duration(now - each["created_at"]), each["description"]]
        for each in listed(session, ctx, "snapshot", where={"volume_id": row["id"]}, sort="-created_at")
    ]
    lines = table([("SNAPSHOT", 24), ("STATUS", 14), ("AGE", 4), ("ABOUT", 30)], snaps, none="no snapshot: I takes one")
    backs: list[list[str | Cell]] = [
        [
            each["name"] or each["id"][:8],
            status(each, now),
            duration(now - each["created_at"]),
            "increment" if each["incremental"] else "full",
            compact(each["stored_bytes"]),
            f"{duration(now - each['proven_at'])} ago" if each["proven_at"] else ("never", "warn"),
        ]
        for each in listed(session, ctx, "backup", where={"volume_id": row["id"]}, sort="-created_at")
    ]
    heads = [("BACKUP", 24), ("STATUS", 14), ("AGE", 4), ("KIND", 9), ("STORED", 6), ("PROVEN", 10)]
    return [*lines, [("", "")], *table(heads, backs, none="no backup: B makes one")]


def preview(row: Row, now: int) -> Lines:
    where = f"{row['backend']} on {row['host']}" if row["host"] else row["backend"]
    proven = f"proven {duration(now - row['proven_at'])} ago" if row["proven_at"] else "never proven"
    first = f"{row['size_gb']}G {type_(row, now)[0]}   {row['status']}   {where}   {_source(row)}   {proven}"
    return [[(first, "")], [(row["id"], "dim"), ("   ", ""), note(row, now)]]


VIEW = View(
    kind="volume",
    title="Volumes",
    aliases=("vol", "volume"),
    columns=(
        Column(title="NAME", key="name", width=14, grow=10, cell=named()),
        Column(title="SIZE", key="size_gb", width=6, cell=size, right=True),
        Column(title="TYPE", key="type", width=7, cell=type_, grow=4),
        Column(title="STATUS", key="status", width=15, cell=status),
        Column(title="ATTACHED", width=11, cell=attached, grow=8),
        Column(title="BOOT", key="bootable", width=4, cell=yes_no("bootable")),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="SNAPS", key="snapshots", width=5, wide=True, right=True),
        Column(title="BACKEND", key="backend", width=8, wide=True),
        Column(title="HOST", key="host", width=8, cell=plain("host"), wide=True),
        Column(title="PROJECT", key="project", width=10, wide=True),
        Column(title="PROVEN", key="proven_at", width=6, cell=aged("proven_at"), wide=True, right=True),
        Column(title="NOTE", width=8, grow=40, cell=note),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=VERBS,
    form=NEW_FORM,
    tabs=(Tab(title="Overview", read=overview), Tab(title="Kept", read=kept)),
    preview=preview,
    empty=lambda session, ctx: [
        ("No volumes yet.", "head"),
        ("n makes one: empty, or of an image, a snapshot or another volume.", ""),
    ],
    headline=lambda row, now: [
        (row["id"][:8], "dim"),
        status(row, now),
        size(row, now),
        (row["type"] or "no type", ""),
    ],
)
