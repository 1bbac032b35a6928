"""Events: the audit trail."""

from __future__ import annotations

import dataclasses
from typing import Any

from tui.text import duration, moment
from tui.verbs import COPY, DESCRIBE, OPEN, YAML, Needs, Row, Verb
from tui.view import Cell, Column, Lines, Tab, View
from tui.views.cells import OPERATION_STATES, aged, changes, facts


def _changes(row: Row, now: int) -> Cell:
    return changes(row), "dim"


def _result(row: Row, now: int) -> Cell:
    """What became of it: of what was done at once `done`, else its operation's state."""
    return row["result"], "ok" if row["result"] == "done" else OPERATION_STATES.get(row["result"], ("", ""))[1]


def _at(row: Row, now: int) -> Cell:
    return (moment(row["at"]) or "").replace("T", " ").removesuffix("Z"), "dim"


def _presets(ctx: Any) -> tuple[str, ...]:
    """All, mine, today's, what went wrong."""
    return "", f"actor={ctx.user_name}", "since=24h", "result=failed,blocked,cancelled"


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines = facts(
        [
            ("action", row["action"]),
            ("who", row["user_name"]),
            ("from", row["source"]),
            ("when", f"{_at(row, now)[0]} UTC, {duration(now - row['at'])} ago"),
            ("result", row["result"]),
            ("object", f"{row['object_kind']} {row['object_name']}"),
            ("object id", row["object_id"]),
            ("request", row["request_id"]),
        ]
    )
    lines.append([("", "")])
    for title in ("before", "after"):
        lines += [[(title, "head")], *facts(sorted((row[title] or {}).items()), label=16)]
    return lines


VIEW = View(
    kind="event",
    title="Events",
    aliases=("ev", "event", "audit"),
    columns=(
        Column(title="OBJECT", key="object_name", width=16, grow=14),
        Column(title="ACTION", key="action", width=20, grow=4),
        Column(title="WHO", key="user_name", width=9),
        Column(title="FROM", key="source", width=5),
        Column(title="RESULT", key="result", width=9, cell=_result),
        Column(title="CHANGES", width=4, grow=60, cell=_changes),
        Column(title="AT", key="at", width=19, cell=_at, wide=True),
        Column(title="REQUEST", key="request_id", width=12, grow=28, wide=True),
        Column(title="AGE", key="id", width=4, cell=aged("at"), right=True),
    ),
    verbs=(
        dataclasses.replace(OPEN, help="The whole event"),
        DESCRIBE,
        Verb(
            name="target",
            key="o",
            label="object",
            help="Open what it was done to",
            needs=Needs.OBJECT,
            action="open_target",
        ),
        Verb(
            name="show",
            key="m",
            label="mine/today/failed",
            help="All, mine, today's, what went wrong; /actor= action= object= since= narrow",
            needs=Needs.NOTHING,
            action="next_preset",
        ),
        YAML,
        COPY,
    ),
    cannot_new=("events come of changes", ""),
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [
        [(f"{row['action']} by {row['user_name']} from {row['source']}", "")],
        [_changes(row, now)],
    ],
    empty=lambda session, ctx: [("No events yet.", "head"), ("Every change is recorded here.", "dim")],
    name="object_name",
    sort="-id",
    presets=_presets,
    copies=("object_id", "request_id"),
)
