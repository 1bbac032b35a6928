"""QoS specs: how much the volumes of a type may do in a second."""

from __future__ import annotations

from typing import Any

from tui.forms.command import Command, command
from tui.verbs import (
    CLONE,
    COPY,
    DESCRIBE,
    EVENTS,
    NEW,
    OPEN,
    YAML,
    Needs,
    Option,
    Pick,
    Reason,
    Row,
    Verb,
    deletion,
    editing,
)
from tui.view import Cell, Column, Field, Form, Holds, Lines, Loaded, Tab, View
from tui.views.cells import aged, facts, short
from tui.views.pages import recent
from tui.views.policy import needs_role
from tui.views.wires import as_properties, changed_properties, fresh, handle, listed, properties

CONSUMERS = [("front-end", "QEMU, at each guest"), ("back-end", "the storage itself"), ("both", "both")]

FIELDS = (
    Field(
        name="specs",
        label="limits",
        word="specs",
        hint="total_iops_sec=2000, total_bytes_sec=…, …_per_gb",
        holds=Holds.PAIRS,
    ),
)


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.volumes import qos

    qos.delete(session, ctx, id)
    return None


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    if refused := needs_role("volume_type:manage")(ctx, row or {}):
        return Loaded(values={}, problem=refused)
    name = fresh(session, ctx, "qos", "limits-1")
    return Loaded(
        values={"name": name, "consumer": "front-end", "specs": "total_iops_sec=2000"},
        choices={"consumer": CONSUMERS},
    )


def _load_like(session: Any, ctx: Any, row: Row) -> Loaded:
    loaded = _load(session, ctx, None)
    if loaded.problem is None:
        name = fresh(session, ctx, "qos", f"{row['name']}-1")
        loaded.values.update({"name": name, "consumer": row["consumer"], "specs": as_properties(row["specs"])})
    return loaded


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import qos

    specs = properties(values["specs"])
    with store.write() as session:
        made = qos.create(session, ctx, name=values["name"].strip(), consumer=values["consumer"], specs=specs)
        return f"QoS spec {made.name} made; A gives it to a volume type"


def _command(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    line = command("volume", "qos", "create").option("--consumer", values["consumer"])
    line.each("--property", (f"{key}={value}" for key, value in properties(values["specs"]).items()))
    return [line.end(values["name"].strip())]


def _load_edit(session: Any, ctx: Any, row: Row | None) -> Loaded:
    assert row is not None
    return Loaded(
        values={"id": row["id"], "name": row["name"], "specs": as_properties(row["specs"])},
        facts={"handle": handle(session, ctx, "qos", row)},
    )


def _submit_edit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.volumes import qos

    with store.write() as session:
        found = qos.find(session, ctx, values["id"])
        given, gone = changed_properties(found.specs, properties(values["specs"]))
        if gone:
            qos.unset(session, ctx, found.id, specs=gone)
        if given:
            qos.set(session, ctx, found.id, specs=given)
    return f"QoS spec {values['name']} changed; running guests feel it now"


def _command_edit(loaded: Loaded, values: dict[str, str]) -> list[Command]:
    given, gone = changed_properties(properties(loaded.values["specs"]), properties(values["specs"]))
    named = loaded.facts["handle"]
    lines = [command("volume", "qos", "unset").each("--property", gone).end(named)] if gone else []
    if given:
        line = command("volume", "qos", "set").each("--property", (f"{key}={each}" for key, each in given.items()))
        lines.append(line.end(named))
    return lines


def _types(session: Any, ctx: Any, row: Row) -> list[Option]:
    """Types it can be given to, and those that have it."""
    found = listed(session, ctx, "volume_type", sort="name")
    off = [
        Option(value=f"off {each['id']}", label=f"take it from {each['name']}", note="as fast as they are", tone="warn")
        for each in found
        if each["qos_id"] == row["id"]
    ]
    on = [
        Option(
            value=f"on {each['id']}",
            label=f"give it to {each['name']}",
            note=f"{each['volumes']} volumes" + (f", now {each['qos']}" if each["qos"] else ""),
        )
        for each in found
        if each["qos_id"] != row["id"]
    ]
    return [*on, *off]


def _associate(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.volumes import qos

    what, kind = value.split()
    if what == "off":
        return qos.disassociate(session, ctx, id, kind)
    return qos.associate(session, ctx, id, kind)


def _used(session: Any, ctx: Any, row: Row) -> list[str]:
    return [each["name"] for each in listed(session, ctx, "volume_type") if each["qos_id"] == row["id"]]


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines = facts([("limited by", dict(CONSUMERS)[row["consumer"]]), ("types", ", ".join(_used(session, ctx, row)))])
    lines += [[("", "")], [("In a second", "head")], *facts(sorted(row["specs"].items()), label=24)]
    return [*lines, *recent(session, ctx, row, now)]


def _specs(row: Row, now: int) -> Cell:
    return as_properties(row["specs"]), ""


_manage = needs_role("volume_type:manage")


def _deletable(ctx: Any, row: Row) -> Reason | None:
    return _manage(ctx, row)


VIEW = View(
    kind="qos",
    title="QoS specs",
    aliases=("qos", "limits"),
    columns=(
        Column(title="NAME", key="name", width=14, grow=10),
        Column(title="BY", key="consumer", width=9),
        Column(title="LIMITS", width=34, cell=_specs, grow=60),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="AGE", key="created_at", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        Verb(
            name="associate",
            key="A",
            label="type",
            help="Give it to a volume type, or take it away again",
            needs=Needs.OBJECT,
            pick=Pick(title="Types of", load=_types, none=("there is no volume type", ":volume types, then n")),
            disabled_reason=_manage,
            run=_associate,
            done="changed the types of",
        ),
        NEW,
        CLONE,
        *editing(
            Form(
                title="Change QoS spec",
                fields=FIELDS,
                load=_load_edit,
                submit=_submit_edit,
                command=_command_edit,
            ),
            help="Change its limits; running guests feel it at once",
            disabled_reason=_manage,
        ),
        deletion(_delete, help="Delete it; no volume type may have it", disabled_reason=_deletable),
        EVENTS,
        YAML,
        COPY,
    ),
    form=Form(
        title="New QoS spec",
        fields=(
            Field(name="name", label="name"),
            Field(name="consumer", label="limited by", word="consumer", choices=True),
            *FIELDS,
        ),
        load=_load,
        submit=_submit,
        command=_command,
        like=_load_like,
    ),
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [[_specs(row, now)], [(row["id"], "dim")]],
    empty=lambda session, ctx: [("No QoS specs.", "head"), ("n makes one; A gives it to a volume type (admin).", "")],
)
