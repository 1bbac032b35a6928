"""What stands below a list when the terminal is large enough: the row under the cursor, and the newest operations."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from tui.verbs import Row
from tui.view import Cell, Lines, View
from tui.views.pages import task_line
from tui.widgets.lines import page


def rule(title: str, width: int) -> list[Cell]:
    """`-- title ------`."""
    head = f"── {title} "
    return [(head + "─" * max(0, width - len(head)), "dim")]


def preview_pane(view: View, row: Row | None, now: int, width: int) -> Text:
    """Details of the row, as the view declares them."""
    if row is None:
        return page([rule(view.title, width)])
    return page([rule(str(row[view.name] or row[view.key])[:width], width), *view.preview(row, now)])


def tasks_pane(tasks: Sequence[Row], now: int, width: int) -> Text:
    """One operation a line, with its progress or why it failed."""
    lines: Lines = [rule("Operations", width)]
    lines += [task_line(task, now) for task in tasks]
    return page(lines if tasks else [*lines, [("  none yet", "dim")]])
