"""What can be changed about an instance without touching its guest: its name, and its metadata."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Changes, Command, command
from tui.verbs import Row
from tui.view import Field, Form, Holds, Loaded
from tui.views.wires import as_properties, changed_properties, handle, properties


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    from core.compute.instances import verbs

    assert row is not None
    found = verbs.find(session, ctx, row["id"])
    return Loaded(
        values={"id": row["id"], "name": row["name"], "properties": as_properties(found.properties)},
        facts={"handle": handle(session, ctx, "instance", row)},
    )


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.compute.instances import verbs

    wished = properties(values["properties"])
    with store.write() as session:
        found = verbs.find(session, ctx, values["id"])
        given, gone = changed_properties(found.properties, wished)
        if given or gone:
            verbs.set_properties(session, ctx, found.id, given, unset=gone)
        if values["name"].strip() != found.name:
            verbs.rename(session, ctx, found.id, values["name"].strip())
        return f"instance {found.name} changed"


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line, changes = command("server", "set"), Changes(loaded.values, values)
    given, gone = changed_properties(properties(loaded.values["properties"]), properties(values["properties"]))
    line.each("--property", (f"{key}={value}" for key, value in given.items()))
    changes.option(line, "--name", "name")
    named = loaded.facts["handle"]
    lines = [line.end(named)] if len(line) > 2 else []
    # By the name it has after the first.
    named = values["name"].strip() if "name" in changes and named == loaded.values["name"] else named
    return [*lines, *([command("server", "unset").each("--property", gone).end(named)] if gone else [])]


EDIT = Form(
    title="Change instance",
    fields=(
        Field(name="name", label="name"),
        Field(
            name="properties", label="metadata", hint="KEY=VALUE, by comma; its guest can read it", holds=Holds.PAIRS
        ),
    ),
    load=_load,
    submit=_submit,
    command=_command,
)
