"""Events: the audit trail."""

from __future__ import annotations

from typing import Any

from tui.verbs import COPY, DESCRIBE, OPEN, YAML, Row
from tui.view import Cell, Column, Lines, Tab, View
from tui.views.cells import aged, changes, facts


def _changes(row: Row, now: int) -> Cell:
    return changes(row), "dim"


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines = facts(
        [
            ("action", row["action"]),
            ("who", f"{row['user_name']} by {row['source']}"),
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
    aliases=("ev", "event"),
    columns=(
        Column(title="OBJECT", key="object_name", width=16, grow=14),
        Column(title="ACTION", key="action", width=20, grow=4),
        Column(title="WHO", key="user_name", width=9),
        Column(title="FROM", key="source", width=5),
        Column(title="CHANGES", width=12, grow=60, cell=_changes),
        Column(title="AGE", key="id", width=4, cell=aged("at"), right=True),
    ),
    verbs=(OPEN, DESCRIBE, YAML, COPY),
    cannot_new=("events come of changes", ""),
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [
        [(f"{row['action']} by {row['user_name']} from {row['source']}", "")],
        [_changes(row, now)],
    ],
    empty=lambda session, ctx: [("No events yet.", "head"), ("Every change is recorded here.", "dim")],
    name="object_name",
    sort="-id",
    copies=("object_id", "request_id"),
)
