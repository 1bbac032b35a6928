"""What stands around the browser's rows: the line above them, the panes below, and the bottom line."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from textual.widgets import Static

from tui.glance import Header
from tui.header import NARROW
from tui.screens.panes import preview_pane, tasks_pane
from tui.screens.shaping import ShapingScreen
from tui.text import duration
from tui.verbs import Row
from tui.view import Cell
from tui.widgets.bar import Bar
from tui.widgets.lines import Line

if TYPE_CHECKING:
    from tui.seen import Seen

ROOMY = 100
"""Columns from which on the whole way here is shown, and the recent lists."""


class ShowingScreen(ShapingScreen):
    """The browser's part that draws what was read; the rows draw themselves."""

    _header: Header | None
    """What was last read of the project."""
    _total: int
    """Rows without the filter."""
    _tasks: tuple[Row, ...]
    """The newest operations."""
    _seen: Seen | None
    """What is shown until the store is open: what was seen the last time."""

    def draw_lines(self) -> None:
        self.draw_header(self._header)
        self.draw_crumb()
        self._draw_preview()
        self.draw_status()
        bar = self.query_one(Bar)
        if not bar.typing:
            self.draw_keys()
        elif bar.typing == "/" and self._problem:
            bar.suggest(self.nothing_to_offer())

    def draw_crumb(self) -> None:
        rows, locator = self.rows, self.locator
        where = "all" if self.app.seat.ready and self.app.seat.ctx.all_projects else ""
        if self.app.seat.ready and not where:
            where = self.app.seat.ctx.project_name
        count = f"{rows.pages.count}/{self._total}" if locator.filter else str(rows.pages.count)
        if (seen := self._seen) is not None:
            count = f"{seen.count}, as of {duration(self.app.seat.now() - seen.at)} ago"
        came = locator.trail[-1:] if self.size.width < ROOMY else locator.trail[-4:]
        left: list[Cell] = [(f"{step} > ", "dim") for step in came]
        left += [(f"{self.view.title}({where})", "head"), (f" {count}", "")]
        if locator.filter:
            left.append((f"   /{locator.filter}", "key"))
        if rows.marks:
            left.append((f"   marks:{len(rows.marks)}", "warn"))
        order = self.order
        key = order.removeprefix("-")
        title = next((c.title for c in (*self.columns, *self.view.columns) if c.key == key), key)
        right: list[Cell] = [(" held: p goes on ", "alarm"), ("  ", "")] if self.held else []
        if self.faulty:
            right.append(("faults  ", "warn"))
        narrow = self.size.width < NARROW
        right += [("" if narrow else "sort:", "dim"), (f"{title}{'v' if order.startswith('-') else '^'}", "")]
        layout = rows.layout_now
        if layout.hidden_left or layout.hidden_right:
            more = "" if narrow else "cols"
            right.append(
                (
                    f"{' ' if narrow else '  '}{'<' * bool(layout.hidden_left)}{more}{'>' * bool(layout.hidden_right)}",
                    "dim",
                )
            )
        self.query_one("#crumb", Line).show(left, right)

    def _draw_preview(self) -> None:
        width = self.size.width
        row = self.rows.row
        now = self.app.seat.now()
        # Their heights are the style sheet's: laying the screen out again costs as much as the rest of a key.
        self.query_one("#preview", Static).update(preview_pane(self.view, row, now, width), layout=False)
        self.query_one("#tasks", Static).update(tasks_pane(self._tasks, now, width), layout=False)

    def draw_status(self) -> None:
        running = self._header.running if self._header else 0
        blocked = self._header.blocked if self._header else 0
        errors = self.app.notes.errors
        right: list[Cell] = [("T:", "dim"), (f"{running} running", "busy" if running else "dim")]
        if blocked:
            right.append((f" {blocked} blocked", "bad"))
        right += [("   M:", "dim"), (f"{errors} error{'s' if errors != 1 else ''}", "bad" if errors else "dim")]
        left: list[Cell] = [(self.shown_locator(self.locator), "dim")]
        if self.size.width >= ROOMY and len(self.recent) > 1:
            left.append(("    ", ""))
            for number, recent in enumerate(self.recent, 1):
                here = recent == dataclasses.replace(self.locator, cursor="")
                left += [(f" {number}", "key"), (f" {self.shown_locator(recent)} ", "on" if here else "dim")]
        self.query_one(Bar).status(left, right)
