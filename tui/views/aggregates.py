"""Aggregates: hosts that have something in common, which flavors and images can ask for."""

from __future__ import annotations

from typing import Any

from tui.verbs import COPY, DESCRIBE, EVENTS, NEW, OPEN, YAML, Needs, Option, Pick, Row, Verb, deletion
from tui.view import Cell, Column, Field, Form, Holds, Lines, Loaded, Tab, View
from tui.views.cells import facts, short
from tui.views.pages import recent
from tui.views.policy import needs_role
from tui.views.wires import fresh, listed, properties

MAY = needs_role("aggregate:manage")


def _hosts(row: Row, now: int) -> Cell:
    return (" ".join(row["hosts"]), "") if row["hosts"] else ("none", "dim")


def _has(row: Row, now: int) -> Cell:
    text = " ".join(f"{key}={value}" for key, value in (row["properties"] or {}).items())
    return (text, "") if text else ("-", "dim")


def _load_hosts(session: Any, ctx: Any, row: Row) -> list[Option]:
    """Every host: those in it to be taken out, the others to be put in."""
    return [
        Option(
            value=f"{'-' if host['name'] in row['hosts'] else '+'}{host['id']}",
            label=host["name"],
            note="in it: takes it out" if host["name"] in row["hosts"] else "puts it in",
            tone="key" if host["name"] in row["hosts"] else "",
        )
        for host in listed(session, ctx, "host")
    ]


def _move(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.hosts import aggregates

    change = aggregates.remove_host if value.startswith("-") else aggregates.add_host
    return change(session, ctx, id, value[1:])


def _delete(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.hosts import aggregates

    aggregates.delete(session, ctx, id)
    return None


def _load(session: Any, ctx: Any, row: Row | None) -> Loaded:
    if refused := MAY(ctx, row or {}):
        return Loaded(values={}, problem=refused)
    return Loaded(values={"name": fresh(session, ctx, "aggregate", "hosts-1"), "properties": ""})


def _submit(store: Any, config: Any, ctx: Any, values: dict[str, str]) -> str:
    from core.hosts import aggregates

    with store.write() as session:
        made = aggregates.create(session, ctx, name=values["name"].strip(), properties=properties(values["properties"]))
        return f"aggregate {made.name} made; A puts hosts in"


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines = facts([("hosts", " ".join(row["hosts"])), ("id", row["id"])])
    lines += [[("", "")], [("Properties", "head")], *facts(sorted((row["properties"] or {}).items()), label=24)]
    return lines + recent(session, ctx, row, now)


VIEW = View(
    kind="aggregate",
    title="Aggregates",
    aliases=("agg", "aggregate"),
    columns=(
        Column(title="NAME", key="name", width=20, grow=14),
        Column(title="HOSTS", width=24, grow=60, cell=_hosts),
        Column(title="PROPERTIES", width=24, grow=40, cell=_has),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        NEW,
        Verb(
            name="hosts",
            key="A",
            label="hosts",
            help="Put a host in, or take one out",
            needs=Needs.OBJECT,
            pick=Pick(title="Hosts of", load=_load_hosts, none=("there are no hosts", ":hosts, then n adds one.")),
            disabled_reason=MAY,
            run=_move,
            done="changed",
        ),
        deletion(_delete, help="Delete the aggregate; its hosts stay", disabled_reason=MAY),
        EVENTS,
        YAML,
        COPY,
    ),
    form=Form(
        title="New aggregate",
        fields=(
            Field(name="name", label="name"),
            Field(name="properties", label="properties", word="property", hint="ssd=true, gpu=a100", holds=Holds.PAIRS),
        ),
        load=_load,
        submit=_submit,
    ),
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [[_hosts(row, now)], [_has(row, now)]],
    empty=lambda session, ctx: [
        ("No aggregates yet.", "head"),
        ("n makes one: hosts with something in common, which flavors can ask for.", ""),
    ],
    headline=lambda row, now: [(row["id"][:8], "dim"), (f"hosts {len(row['hosts'])}", "")],
)
