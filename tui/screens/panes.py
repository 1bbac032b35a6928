"""What stands below a list when the terminal is large enough: the row under the cursor, and the newest operations."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from tui.text import duration
from tui.verbs import Row
from tui.view import Cell, Lines, View
from tui.views.operations import STATES
from tui.widgets.lines import page


def rule(title: str, width: int) -> list[Cell]:
    """`-- title ------`."""
    head = f"── {title} "
    return [(head + "─" * max(0, width - len(head)), "dim")]


def preview_pane(view: View, row: Row | None, now: int, width: int) -> Text:
    """Details of the row, as the view declares them."""
    if row is None:
        return page([rule(view.title, width)])
    return page([rule(str(row[view.name]), width), *view.preview(row, now)])


def tasks_pane(tasks: Sequence[Row], now: int, width: int) -> Text:
    """One operation a line, with its progress or why it failed."""
    lines: Lines = [rule("Operations", width)]
    lines += [task_line(task, now) for task in tasks]
    return page(lines if tasks else [*lines, [("  none yet", "dim")]])


def task_line(task: Row, now: int) -> list[Cell]:
    """`create web-03 [####----] 40% spawning on kvm02 8s`."""
    glyph, tone = STATES.get(task["state"], ("?", ""))
    verb = str(task["kind"]).rpartition(".")[2]
    since = duration(now - task["created_at"])
    cells: list[Cell] = [(f"  {since:>4}  {verb:<12} {str(task['object_name'])[:24]:<24} ", "")]
    if task["state"] == "running":
        filled = round(20 * task["progress"] / 100)
        cells += [(f"[{'#' * filled}{'-' * (20 - filled)}] {task['progress']:>3}%  ", tone)]
        cells += [(f"{task['step']}{' on ' + task['host'] if task['host'] else ''}", "")]
    else:
        cells += [(f"{glyph} {task['state']:<10} ", tone)]
        cells += [((task["error"] or {}).get("title", ""), "")]
    return cells
