"""Operations: what was accepted, how far it is, and why it stopped."""

from __future__ import annotations

import dataclasses
from typing import Any

from tui.progress import pace
from tui.text import duration
from tui.verbs import COPY, DESCRIBE, EVENTS, OPEN, YAML, Confirm, Needs, Reason, Row, Verb
from tui.view import Cell, Column, Lines, Tab, View
from tui.views.cells import OPERATION_STATES, aged, facts, plain, short
from tui.views.funnel import funnel_lines
from tui.views.policy import needs_role
from tui.views.why import remedy_lines

BAR = 4
"""Cells of a running one's bar."""

_STEPS = {"done": ("+", "ok"), "begun": ("~", "busy"), "undone": ("<", "warn"), "waiting": (".", "dim")}


def state(row: Row, now: int) -> Cell:
    glyph, tone = OPERATION_STATES.get(row["state"], ("?", ""))
    if row["state"] == "running":
        filled = round(BAR * row["progress"] / 100)
        return f"{glyph} [{'#' * filled}{'-' * (BAR - filled)}] {row['progress']}%", tone
    return f"{glyph} {row['state']}", tone


def _note(row: Row, now: int) -> Cell:
    if row["error"]:
        return row["error"].get("title", ""), "bad" if row["state"] in ("failed", "blocked") else "warn"
    if row["state"] not in ("running", "ready"):
        return "", ""
    left = pace(row, now)
    return f"{row['step']}{', ' + left if left else ''}", ""


def _took(row: Row, now: int) -> Cell:
    start = row["started_at"] or row["created_at"]
    return duration((row["ended_at"] or now) - start), ""


def _cancel(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.operations import operations

    return operations.cancel(session, ctx, id)


def _retry(session: Any, ctx: Any, id: str, value: str) -> object:
    from core.operations import operations

    return operations.retry(session, ctx, id)


def _open(ctx: Any, row: Row) -> Reason | None:
    if row["state"] not in ("ready", "running", "blocked"):
        return f"it has {row['state']} already", "Nothing is left to cancel."
    return needs_role("operation:manage")(ctx, row)


def _retriable(ctx: Any, row: Row) -> Reason | None:
    if row["state"] not in ("ready", "blocked"):
        again = "A failed one was undone: ask for the verb again." if row["state"] == "failed" else ""
        return f"it is {row['state']}", again
    return needs_role("operation:manage")(ctx, row)


def overview(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """What happened, and for a placement the funnel."""
    from core.compute import why
    from core.operations import operations

    found = operations.find(session, ctx, row["id"])
    error = found.error or {}
    lines: Lines = []
    if error:
        lines += [[("! ", "bad"), (error.get("title", ""), "bad")], [(f"  {error.get('hint', '')}", "")], [("", "")]]
    lines += facts(
        [
            ("state", f"{found.state} {found.progress}%"),
            ("step", found.step),
            ("attempt", found.attempt),
            ("who", f"{found.user_name} by {found.source}"),
            ("accepted", f"{duration(now - found.created_at)} ago"),
            ("took", _took(row, now)[0]),
            ("pace", pace(row, now)),
            ("host", row["host"]),
            ("cancel", "asked for" if found.cancel else "no"),
        ],
        columns=2,
    )
    lines += facts([("request", found.request_id), ("object", f"{found.object_kind} {found.object_id}")])
    if found.state in ("ready", "running", "blocked"):
        again = [("r", "key"), (" tries again now   ", "")] if found.state != "running" else []
        lines += [[("", "")], [*again, ("X", "key"), (" cancels; what it made is undone", "")]]
    remedies = remedy_lines(why.of_operation(session, ctx, found))
    placed = funnel_lines(error.get("funnel") or found.data.get("funnel") or {})
    blocks = [[[("Steps", "head")], *_steps(found)], remedies, [[("Placement", "head")], *placed] if placed else []]
    if not found.data.get("begun") and not found.data.get("done"):
        blocks = [*blocks[1:], blocks[0]]  # it never came to its steps: what stopped it before them comes first
    for block in filter(None, blocks):
        lines += [[("", "")], *block]
    return lines


def _steps(found: Any) -> Lines:
    """One a line: done, begun, undone, or where it ended and why."""
    from core.operations.steps import steps

    lines: Lines = []
    for step in steps(found.kind, found.data, running=found.step, state=found.state):
        glyph, tone = _STEPS.get(step.state, ("!", "bad"))
        cells: list[Cell] = [(f"  {glyph} ", tone), (f"{step.name:<20} ", ""), (f"{step.state:<10} ", tone)]
        if step.state not in _STEPS and found.error:
            cells.append((found.error.get("title", ""), "bad"))
        elif step.state == "begun" and found.attempt > 1:
            cells.append((f"try {found.attempt}", "warn"))
        lines.append(cells)
    return lines or [[("  none is known", "dim")]]


def _presets(ctx: Any) -> tuple[str, ...]:
    """All, mine, those not yet ended, those that went wrong."""
    return "", f"user_name={ctx.user_name}", "state=ready,running,blocked", "state=failed,blocked"


VIEW = View(
    kind="operation",
    title="Operations",
    aliases=("op", "tk", "task", "tasks"),
    columns=(
        Column(title="TARGET", key="object_name", width=16, grow=14),
        Column(title="OPERATION", key="kind", width=22, grow=4),
        Column(title="STATE", key="state", width=13, cell=state),
        Column(title="NOTE", width=12, grow=60, cell=_note),
        Column(title="HOST", key="host", width=8, cell=plain("host"), wide=True),
        Column(title="WHO", key="user_name", width=8, wide=True),
        Column(title="ID", key="id", width=8, cell=short("id"), wide=True),
        Column(title="TOOK", width=4, cell=_took, right=True),
        Column(title="AGE", key="seq", width=4, cell=aged("created_at"), right=True),
    ),
    verbs=(
        dataclasses.replace(OPEN, label="target", help="Open what it is about", action="open_target"),
        dataclasses.replace(DESCRIBE, label="why", help="What happened, step by step, and why"),
        Verb(
            name="show",
            key="m",
            label="mine/open/failed",
            help="All, mine, those not yet ended, those that went wrong",
            needs=Needs.NOTHING,
            action="next_preset",
        ),
        Verb(
            name="retry",
            key="r",
            label="retry",
            help="Try again now",
            disabled_reason=_retriable,
            run=_retry,
            done="trying again",
        ),
        Verb(
            name="cancel",
            key="X",
            label="cancel",
            help="Cancel; what it made is undone",
            confirm=Confirm.BAR,
            dangerous=True,
            disabled_reason=_open,
            run=_cancel,
            done="cancelling",
        ),
        EVENTS,
        YAML,
        COPY,
    ),
    cannot_new=("operations come of verbs", "For example n in :instances."),
    tabs=(Tab(title="Overview", read=overview),),
    preview=lambda row, now: [
        [state(row, now), (f"   {row['step']}   attempt {row['attempt']}   by {row['user_name']}", "")],
        [((row["error"] or {}).get("title") or row["id"], "bad" if row["error"] else "dim")],
    ],
    empty=lambda session, ctx: [("No operations yet.", "head"), ("Whatever is asked for appears here.", "dim")],
    headline=lambda row, now: [(row["kind"], ""), state(row, now)],
    presets=_presets,
    name="object_name",
    sort="-seq",
    copies=("id", "request_id"),
    faults="state=failed,blocked",
)
