"""Pages that every noun has: what happened to an object, and all of it as YAML."""

from __future__ import annotations

from typing import Any

from tui.progress import pace
from tui.text import duration, safe_lines
from tui.verbs import Row
from tui.view import Cell, Lines
from tui.views.cells import OPERATION_STATES, changes

RECENT = 10
"""Lines of an overview's history."""


def yaml_page(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """The row as YAML; a block of plain text, so that it can be copied."""
    import yaml

    text = yaml.safe_dump(_plain(row), sort_keys=False, allow_unicode=True, default_flow_style=False)
    lines: Lines = []
    for line in safe_lines(text.rstrip()).split("\n"):
        name, colon, rest = line.partition(":")
        known = bool(colon) and not name.lstrip().startswith("- ")
        lines.append([(name + colon, "key"), (rest, "")] if known else [(line, "")])
    return lines


def _plain(value: Any) -> Any:
    """Only what YAML knows by itself."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def events_page(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """Operations and audit events of the object, newest first."""
    from core import listing as lists
    from core.lists import LISTINGS

    key = str(row.get("id") or row.get("name"))
    lines: Lines = []
    operations = lists.page(session, ctx, LISTINGS["operation"], where={"object_id": key}, limit=50)
    if operations:
        lines += [[("Operations", "head")], *(task_line(task, now) for task in operations), [("", "")]]
    lines.append([("Events", "head")])
    recorded = lists.page(session, ctx, LISTINGS["event"], where={"object_id": key}, limit=200)
    if not recorded:
        lines.append([("  none recorded", "dim")])
    for event in recorded:
        lines.append(
            [
                (f"  {duration(now - event['at']):>4}  ", "dim"),
                (f"{event['action']:<24} {event['user_name']:<10} {event['source']:<6} ", ""),
                (changes(event), "dim"),
            ]
        )
    return lines


def history(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """The newest of it in short lines, for a box: operations that have not succeeded or just did, then events."""
    from core import listing as lists
    from core.lists import LISTINGS

    key = str(row.get("id") or row.get("name"))
    lines: Lines = []
    for task in lists.page(session, ctx, LISTINGS["operation"], where={"object_id": key}, limit=RECENT // 2):
        glyph, tone = OPERATION_STATES.get(task["state"], ("?", ""))
        what = (task["error"] or {}).get("title", "") or task["state"]
        if task["state"] == "running":
            left = pace(task, now)
            what = f"{task['progress']}% {task['step']}{', ' + left if left else ''}"
        lines.append(
            [
                (f"{duration(now - task['created_at']):>4}  ", "dim"),
                (f"{task['kind']:<20} ", ""),
                (f"{glyph} {what}", tone),
            ]
        )
    for event in lists.page(session, ctx, LISTINGS["event"], where={"object_id": key}, limit=RECENT):
        lines.append(
            [
                (f"{duration(now - event['at']):>4}  ", "dim"),
                (f"{event['action']:<20} {event['user_name']} ", ""),
                (changes(event), "dim"),
            ]
        )
    return lines or [[("none recorded", "dim")]]


def recent(session: Any, ctx: Any, row: Row, now: int) -> Lines:
    """The newest of it, for the foot of an overview."""
    return [[("", "")], *events_page(session, ctx, row, now)[:RECENT]]


def task_line(task: Row, now: int) -> list[Cell]:
    """`create web-03 [####----] 40% spawning on kvm02, 8s left`."""
    glyph, tone = OPERATION_STATES.get(task["state"], ("?", ""))
    noun, _, verb = str(task["kind"]).rpartition(".")
    verb = verb.replace("_", " ") if noun in ("", "instance") else f"{noun} {verb}".replace("_", " ")
    since = duration(now - task["created_at"])
    cells: list[Cell] = [(f"  {since:>4}  {verb:<15} {str(task['object_name'])[:24]:<24} ", "")]
    if task["state"] == "running":
        filled = round(20 * task["progress"] / 100)
        cells += [(f"[{'#' * filled}{'-' * (20 - filled)}] {task['progress']:>3}%  ", tone)]
        left = pace(task, now)
        where = f"{' on ' + task['host'] if task['host'] else ''}{', ' + left if left else ''}"
        cells += [(f"{task['step']}{where}", "")]
    else:
        cells += [(f"{glyph} {task['state']:<10} ", tone)]
        cells += [((task["error"] or {}).get("title", ""), "")]
    return cells
