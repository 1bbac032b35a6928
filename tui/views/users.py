"""Users: who may come in, and what they may do where."""

from __future__ import annotations

from typing import Any

from tui.verbs import COPY, DESCRIBE, EVENTS, OPEN, YAML, Needs, Row, Verb
from tui.view import Cell, Column, Lines, Tab, View
from tui.views.cells import facts, short, yes_no
from tui.views.pages import recent
from tui.views.wires import table


def _roles(row: Row, now: int) -> Cell:
    """`admin in admin, member in demo`."""
    text = ", ".join(f"{held['role']} in {held['project']}" for held in row["roles"])
    return (text, "") if text else ("none: cannot work anywhere", "warn")


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    password = "yes" if row["has_password"] else "no: only as the configured user of this machine"
    lines = facts([("enabled", "yes" if row["enabled"] else "no"), ("domain", row["domain"]), ("password", password)])
    held = [[one["project"], one["role"]] for one in row["roles"]]
    lines += [[("", "")], *table([("PROJECT", 30), ("ROLE", 10)], held, none="It has no role in any project.")]
    return lines + recent(session, ctx, row, now)


VIEW = View(
    kind="user",
    title="Users",
    aliases=("u", "user"),
    columns=(
        Column(title="NAME", key="name", width=18, grow=14),
        Column(title="DOMAIN", key="domain", width=9),
        Column(title="ENABLED", key="enabled", width=7, cell=yes_no("enabled")),
        Column(title="ROLES", width=30, grow=60, cell=_roles),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
    ),
    verbs=(
        OPEN,
        DESCRIBE,
        Verb(
            name="acts",
            key="l",
            label="audit",
            help="What this user did",
            needs=Needs.OBJECT,
            action="acts_of",
        ),
        EVENTS,
        YAML,
        COPY,
    ),
    cannot_new=("users are made by whoever runs this machine", "The user in config.toml is made at the first start."),
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [[_roles(row, now)], [(row["id"], "dim")]],
    headline=lambda row, now: [(row["id"][:8], "dim"), ("enabled", "ok") if row["enabled"] else ("disabled", "warn")],
)
