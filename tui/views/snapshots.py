"""Snapshots: volumes as they were at one moment."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Changes, Command, command
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
from tui.view import Column, Field, Form, Lines, Loaded, Tab, View
from tui.views.cells import aged, facts, named, plain, short
from tui.views.pages import recent
from tui.views.policy import needs_role
from tui.views.volumes.cells import note, size, status
from tui.views.volumes.forms import SNAPSHOT
from tui.views.volumes.new import called, from_source
from tui.views.wires import fresh, handle, listed


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.volumes import snapshots

    return snapshots.delete(session, ctx, id)


def _deletable(ctx: Any, row: Row) -> Reason | None:
    refused = needs_role("snapshot:delete")(ctx, row)
    if refused is None and row["status"] not in ("available", "error", "error_deleting"):
        return f"it is {row['status']}", "Wait for what runs on it."
    return refused


def _available(rule: str) -> Any:
    def disabled(ctx: Any, row: Row) -> Reason | None:
        refused = needs_role(rule)(ctx, row)
        return refused or (None if row["status"] == "available" else (f"it is {row['status']}", "Wait for it."))

    return disabled


def _itself(session: Any, ctx: Any, row: Row) -> list[Option]:
    return [
        Option(
            value=row["volume_id"],
            label=f"make {row['volume'] or row['volume_id'][:8]} as it was then",
            note="what was written since is lost",
            tone="bad",
        )
    ]


def _revert(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.volumes import volumes

    return volumes.revert(session, ctx, value, snapshot=id)


def _load_edit(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={"id": row["id"], "name": row["name"], "description": row["description"]},
        facts={"handle": handle(session, ctx, "snapshot", row)},
    )


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, changes = command("volume", "snapshot", "set"), Changes(loaded.values, values)
    changes.option(line, "--name", "name")
    changes.option(line, "--description", "description")
    return [line.end(loaded.facts["handle"])]


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import snapshots

    with store.write() as session:
        snapshots.set(
            session, ctx, values["id"], name=values["name"].strip(), description=values["description"].strip()
        )
    return f"snapshot {values['name'] or values['id'][:8]} changed"


EDIT = Form(
    title="Change snapshot",
    fields=(Field(name="name", label="name"), Field(name="description", label="about")),
    load=_load_edit,
    submit=_submit_edit,
    command=_command_edit,
)


def _load_new(session: Any, ctx: Any, row: Row | None) -> Loaded:
    """Of the volume whose snapshot is under the cursor first."""
    volumes = [
        each for each in listed(session, ctx, "volume", sort="name") if each["status"] in ("available", "in-use")
    ]
    if not volumes:
        return Loaded(values={}, problem=("There is no volume to take one of.", "Make one: :volumes, then n"))
    first = next((each for each in volumes if row and each["id"] == row["volume_id"]), volumes[0])
    return Loaded(
        values={
            "id": first["id"],
            "name": fresh(session, ctx, "snapshot", f"{called(first)}-1"),
            "quiesce": "False",
            "force": "True",
            "description": "",
        },
        choices={
            "id": [(each["id"], f"{called(each)}  {each['size_gb']}G {each['status']}") for each in volumes],
            "quiesce": [("False", "no: as if its power had been cut"), ("True", "yes, by the guest's agent")],
        },
        facts={"volumes": {each["id"]: handle(session, ctx, "volume", each) for each in volumes}},
    )


NEW_FORM = Form(
    title="Take snapshot",
    fields=(
        Field(name="id", label="volume", choices=True),
        Field(name="name", label="name"),
        Field(name="quiesce", label="frozen", choices=True),
        Field(name="description", label="about"),
    ),
    load=_load_new,
    submit=SNAPSHOT.submit,
    command=SNAPSHOT.command,
)


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    frozen = {None: "nobody had it open", True: "file systems were frozen", False: "as after a power cut"}
    lines: Lines = []
    if row["fault"]:
        lines += [[("! ", "bad"), (row["fault"].get("title", ""), "bad")], [("", "")]]
    lines += facts(
        [
            ("status", row["status"]),
            ("size", f"{row['size_gb']} GiB"),
            ("volume", row["volume"] or row["volume_id"][:8]),
            ("taken", frozen[row["quiesced"]]),
            ("project", row["project"]),
            ("about", row["description"]),
        ],
        columns=2,
    )
    return [*lines, *facts(sorted(row["properties"].items())), *recent(session, ctx, row, now)]


VIEW = View(
    kind="snapshot",
    title="Snapshots",
    aliases=("snap", "snapshot"),
    columns=(
        Column(title="NAME", key="name", width=18, grow=16, cell=named()),
        Column(title="SOURCE", key="volume", width=16, grow=12, cell=plain("volume")),
        Column(title="SIZE", key="size_gb", width=6, cell=size, right=True),
        Column(title="STATUS", key="status", width=15, cell=status),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="PROJECT", key="project", width=10, wide=True),
        Column(title="NOTE", width=8, grow=40, cell=note),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        Verb(
            name="volume",
            key="b",
            label="volume",
            help="Make a volume of it",
            needs=Needs.OBJECT,
            form=from_source("snapshot"),
            disabled_reason=_available("volume:create"),
        ),
        Verb(
            name="revert",
            key="R",
            label="revert",
            help="Make its volume as it was then",
            needs=Needs.OBJECT,
            pick=Pick(title="Revert to", load=_itself, none=("its volume is gone", "")),
            disabled_reason=_available("volume:set"),
            run=_revert,
            done="reverting to",
        ),
        NEW,
        *editing(EDIT, help="Change name and description", disabled_reason=needs_role("snapshot:set")),
        deletion(
            _delete,
            help="Delete the snapshot; its volume stays",
            disabled_reason=_deletable,
            confirm=Confirm.TYPE,
        ),
        EVENTS,
        YAML,
        COPY,
    ),
    form=NEW_FORM,
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [
        [(f"{row['size_gb']}G of {row['volume'] or row['volume_id']}   {row['description']}", "")],
        [(row["id"], "dim"), ("   ", ""), note(row, now)],
    ],
    empty=lambda session, ctx: [("No snapshots yet.", "head"), ("n takes one; I does on a volume.", "")],
    headline=lambda row, now: [(row["id"][:8], "dim"), status(row, now), (f"of {row['volume']}", "")],
    faults="status=error*",
)
