"""Findings: where a host differs from what the cloud says it has."""

from __future__ import annotations

from typing import Any

from tui.text import duration
from tui.verbs import COPY, DESCRIBE, OPEN, YAML, Row
from tui.view import Column, Lines, Tab, View
from tui.views.cells import aged, facts, plain


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    lines: Lines = [[("! ", "warn"), (row["title"], "warn")], [("safe act  ", "dim"), (row["act"] or "none", "head")]]
    lines += [[("", "")]]
    lines += facts([("kind", row["kind"]), ("host", row["host"]), ("object", row["object_id"])])
    first, last = duration(now - row["first_seen"]), duration(now - row["last_seen"])
    lines += facts([("since", f"{first} ago"), ("last seen", f"{last} ago")])
    return [*lines, [("", "")], [("Evidence", "head")], *facts(sorted((row["evidence"] or {}).items()), label=20)]


VIEW = View(
    kind="finding",
    title="Findings",
    aliases=("fi", "finding", "drift"),
    columns=(
        Column(title="OBJECT", key="object_name", width=16, grow=14, cell=plain("object_name")),
        Column(title="HOST", key="host", width=8, grow=6),
        Column(title="FINDING", key="title", width=30, grow=80, cell=lambda row, now: (f"! {row['title']}", "warn")),
        Column(title="KIND", key="kind", width=18, wide=True),
        Column(title="AGE", key="first_seen", width=4, cell=aged("first_seen"), right=True),
    ),
    verbs=(OPEN, DESCRIBE, YAML, COPY),
    cannot_new=("findings come of looking at the hosts", ""),
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [[(row["title"], "")], [("safe act  ", "dim"), (row["act"], "")]],
    empty=lambda session, ctx: [("No findings: the hosts are as they should be.", "ok")],
    name="object_name",
    sort="-first_seen",
    copies=("object_id",),
)
