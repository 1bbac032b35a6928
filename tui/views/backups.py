"""Backups: volumes kept in another place, restored, read again, and proven by a drill."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Changes, Command, command
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
    Reason,
    Row,
    Verb,
    deletion,
    editing,
)
from tui.view import Cell, Column, Field, Form, Lines, Loaded, Tab, View
from tui.views.cells import aged, compact, facts, named, short
from tui.views.pages import recent
from tui.views.policy import needs_role
from tui.views.volumes.cells import note, size, status
from tui.views.volumes.forms import BACKUP
from tui.views.volumes.new import called
from tui.views.wires import handle, listed

NEW_ONE = ""
"""Instead of a volume to restore over."""


def kind(row: Row, now: int) -> Cell:
    return ("incr", "") if row["incremental"] else ("full", "")


def _volume(row: Row, now: int) -> Cell:
    """Its name as it was; a backup outlives its volume."""
    return (row["volume_name"], "") if row["volume_name"] else (row["volume_id"][:8], "dim")


def proven(row: Row, now: int) -> Cell:
    """When a drill last booted it; in the colour of warning when none ever did."""
    return (duration(now - row["proven_at"]), "ok") if row["proven_at"] else ("never", "warn")


def _stored(row: Row, now: int) -> Cell:
    return compact(row["stored_bytes"]), ""


def _run(verb: str) -> Any:
    def run(session: Any, ctx: Any, id: str, value: str) -> object:
        from core.volumes import backups

        return getattr(backups, verb)(session, ctx, id)

    return run


def _drill(session: Any, ctx: Any, config: Any, id: str, value: str) -> object:
    from core.volumes import backups

    return backups.drill(session, ctx, config, id)


def _restorable(ctx: Any, row: Row) -> Reason | None:
    refused = needs_role("backup:restore")(ctx, row)
    return refused or (None if row["status"] == "available" else (f"it is {row['status']}", "Wait for it."))


def _deletable(ctx: Any, row: Row) -> Reason | None:
    refused = needs_role("backup:delete")(ctx, row)
    if refused is None and row["dependants"]:
        return f"{row['dependants']} later of its volume stand on it", "Delete the newest first."
    if refused is None and row["status"] not in ("available", "error", "error_deleting"):
        return f"it is {row['status']}", "Wait for what runs on it."
    return refused


# ---------------------------------------------------------------------------- forms


def _load_restore(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    targets = [
        each
        for each in listed(session, ctx, "volume", where={"status": "available"}, sort="name")
        if each["size_gb"] >= row["size_gb"]
    ]
    over = [(each["id"], f"over {called(each)}  {each['size_gb']}G: what is in it is lost") for each in targets]
    return Loaded(
        values={"id": row["id"], "to": NEW_ONE, "name": f"{row['volume_name'] or called(row)}-restored"},
        choices={"to": [(NEW_ONE, "a new volume"), *over]},
        facts={
            "handle": handle(session, ctx, "backup", row),
            "volumes": {each["id"]: handle(session, ctx, "volume", each) for each in targets},
        },
    )


def _preview_restore(loaded: Loaded, values: dict[str, str]) -> Lines:
    if values["to"] == NEW_ONE:
        return []
    return [[("! ", "bad"), ("what is in that volume is overwritten", "bad")]]


def _command_restore(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, to = command("volume", "backup", "restore"), values["to"]
    line.flag("--force", to != NEW_ONE)
    target = values["name"].strip() if to == NEW_ONE else loaded.facts["volumes"][to]
    return [line.end(loaded.facts["handle"], *[each for each in [target] if each])]


def _submit_restore(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import backups

    with store.write() as session:
        made, _operation = backups.restore(
            session,
            ctx,
            config,
            values["id"],
            volume=values["to"] or None,
            name=values["name"].strip() if values["to"] == NEW_ONE else None,
        )
        return f"restoring to volume {made.name or made.id[:8]}"


RESTORE = Form(
    title="Restore",
    fields=(
        Field(name="to", label="to", choices=True),
        Field(name="name", label="name", hint="of a new volume", when=lambda values: values["to"] == NEW_ONE),
    ),
    load=_load_restore,
    submit=_submit_restore,
    preview=_preview_restore,
    command=_command_restore,
)


def _load_edit(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={"id": row["id"], "name": row["name"], "description": row["description"]},
        facts={"handle": handle(session, ctx, "backup", row)},
    )


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, changes = command("volume", "backup", "set"), Changes(loaded.values, values)
    changes.option(line, "--name", "name")
    changes.option(line, "--description", "description")
    return [line.end(loaded.facts["handle"])]


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import backups

    with store.write() as session:
        backups.set(session, ctx, values["id"], name=values["name"].strip(), description=values["description"].strip())
    return f"backup {values['name'] or values['id'][:8]} changed"


EDIT = Form(
    title="Change backup",
    fields=(Field(name="name", label="name"), Field(name="description", label="about")),
    load=_load_edit,
    submit=_submit_edit,
    command=_command_edit,
)


def _load_new(session: Any, ctx: Any, row: Row | None) -> Loaded:
    """Of the volume whose backup is under the cursor first."""
    volumes = [
        each for each in listed(session, ctx, "volume", sort="name") if each["status"] in ("available", "in-use")
    ]
    if not volumes:
        return Loaded(values={}, problem=("There is no volume to back up.", "Make one: :volumes, then n"))
    first = next((each for each in volumes if row and each["id"] == row["volume_id"]), volumes[0])
    return Loaded(
        values={"id": first["id"], "name": "", "incremental": "False", "force": "True", "description": ""},
        choices={
            "id": [(each["id"], f"{called(each)}  {each['size_gb']}G {each['status']}") for each in volumes],
            "incremental": [("False", "whole"), ("True", "what changed since its newest backup")],
        },
        facts={"volumes": {each["id"]: handle(session, ctx, "volume", each) for each in volumes}},
    )


NEW_FORM = Form(
    title="Back up",
    fields=(
        Field(name="id", label="volume", choices=True),
        Field(name="name", label="name"),
        Field(name="incremental", label="what", choices=True),
        Field(name="description", label="about"),
    ),
    load=_load_new,
    submit=BACKUP.submit,
    command=BACKUP.command,
)


# ---------------------------------------------------------------------------- looking


def _ago(row: Row, key: str, now: int) -> str:
    return f"{duration(now - row[key])} ago" if row[key] else "never"


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines: Lines = []
    if row["fault"]:
        lines += [[("! ", "bad"), (row["fault"].get("title", ""), "bad")], [(f"  {row['fault'].get('hint', '')}", "")]]
        lines.append([("", "")])
    lines += facts(
        [
            ("status", row["status"]),
            ("size", f"{row['size_gb']} GiB"),
            ("volume", row["volume_name"] or row["volume_id"][:8]),
            ("stored", f"{compact(row['stored_bytes'])}, {row['object_count']} pieces"),
            ("kind", "what changed since its parent" if row["incremental"] else "whole"),
            ("repository", row["container"]),
            ("contents of", _ago(row, "data_at", now)),
            ("stand on it", f"{row['dependants']} later" if row["dependants"] else "none"),
            ("read again", _ago(row, "verified_at", now)),
            ("proven", _ago(row, "proven_at", now)),
        ],
        columns=2,
    )
    if not row["proven_at"]:
        lines.append([("! ", "warn"), ("nobody has proven that it boots: D restores it aside and tries", "warn")])
    return [*lines, *facts([("about", row["description"])]), *recent(session, ctx, row, now)]


VIEW = View(
    kind="backup",
    title="Backups",
    aliases=("bak", "backup"),
    columns=(
        Column(title="NAME", key="name", width=14, grow=16, cell=named()),
        Column(title="VOLUME", key="volume_name", width=13, grow=12, cell=_volume),
        Column(title="SIZE", key="size_gb", width=5, cell=size, right=True),
        Column(title="STORED", key="stored_bytes", width=6, cell=_stored, right=True),
        Column(title="KIND", width=4, cell=kind),
        Column(title="STATUS", key="status", width=14, cell=status),
        Column(title="PROVEN", key="proven_at", width=6, cell=proven, right=True),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="READ", key="verified_at", width=5, cell=aged("verified_at"), wide=True, right=True),
        Column(title="REPOSITORY", key="container", width=10, wide=True),
        Column(title="PROJECT", key="project", width=10, wide=True),
        Column(title="NOTE", width=4, grow=40, cell=note),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        Verb(
            name="restore",
            key="b",
            label="restore",
            help="Restore it to a volume, new or there",
            needs=Needs.OBJECT,
            form=RESTORE,
            disabled_reason=_restorable,
        ),
        Verb(
            name="verify",
            key="r",
            label="verify",
            help="Read it again, and compare every piece with its digest",
            disabled_reason=needs_role("backup:restore"),
            run=_run("verify"),
            done="reading again",
        ),
        Verb(
            name="drill",
            key="D",
            label="drill",
            help="Prove it: restore it aside, boot it on an isolated network",
            confirm=Confirm.BAR,
            disabled_reason=_restorable,
            run=_drill,
            configured=True,
            done="drilling",
        ),
        NEW,
        *editing(EDIT, help="Change name and description", disabled_reason=needs_role("backup:set")),
        deletion(_run("delete"), help="Delete the backup", disabled_reason=_deletable, confirm=Confirm.TYPE),
        EVENTS,
        YAML,
        COPY,
    ),
    form=NEW_FORM,
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [
        [
            (f"{kind(row, now)[0]} of {row['volume_name'] or row['volume_id']}", ""),
            (f"   stored {compact(row['stored_bytes'])}", ""),
            (f"   read again {_ago(row, 'verified_at', now)}   proven {_ago(row, 'proven_at', now)}", ""),
        ],
        [(row["id"], "dim"), ("   ", ""), note(row, now)],
    ],
    empty=lambda session, ctx: [("No backups yet.", "head"), ("n makes one; B does on a volume.", "")],
    headline=lambda row, now: [
        (row["id"][:8], "dim"),
        status(row, now),
        kind(row, now),
        (f"of {row['volume_name'] or row['volume_id'][:8]}", ""),
    ],
    sort="-created_at",
    faults="status=error*",
)
