"""Where the browser goes: locators, history, and the line in which they are typed."""

from __future__ import annotations

import dataclasses
import functools

from textual import work

from tui import completion, registry
from tui.locator import ALL, Locator
from tui.screens.acting import ActingScreen
from tui.verbs import Row
from tui.view import Cell
from tui.widgets.bar import Bar
from tui.widgets.table import RowList

RECENT = 9
"""Lists that have a number."""


class GoingScreen(ActingScreen):
    """The browser's half that decides what is looked at; the other half looks and draws."""

    locator: Locator

    def __init__(self, locator: Locator) -> None:
        super().__init__()
        self.locator = locator
        self.view = registry.VIEWS[locator.kind]
        self._past: list[Locator] = []
        self._future: list[Locator] = []
        self._arrived = locator.filter
        """The filter this list was opened with: going back goes past it, and clears any other first."""
        self.in_front = ""
        """The screen from which the next visit comes, when that is not this one: going back leads to it."""
        self._problem: tuple[str, str] | None = None
        """Why the present filter or order cannot be read: title and hint."""
        self._before_typing = ""
        self.recent: list[Locator] = []
        """Lists that `1` to `9` lead to."""
        self._used: list[int] = []
        """Places in `recent`, the one used longest ago first."""

    # ------------------------------------------------------------------ what the browser gives

    @property
    def rows(self) -> RowList:
        return self.query_one(RowList)

    def visit(self, locator: Locator, *, remember: bool = True) -> None:
        """Show another list, filter or order."""
        raise NotImplementedError

    def look_again(self) -> None:
        raise NotImplementedError

    def draw_lines(self) -> None:
        raise NotImplementedError

    def go_clear_marks(self, row: Row | None) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------ projects and history

    def _here(self) -> Locator:
        """The present list with its project, so that history leads back to both."""
        seat = self.app.seat
        if not seat.ready:
            return dataclasses.replace(self.locator, over=self.in_front, cursor=self.rows.cursor_id or "")
        project = ALL if seat.ctx.all_projects else seat.ctx.project_id
        cursor = self.rows.cursor_id or ""
        return dataclasses.replace(self.locator, project=project, over=self.in_front, cursor=cursor)

    def go_to(self, locator: Locator, *, remember: bool = True) -> None:
        """Visit a locator that may name another project."""
        here = self._here()
        if not self.app.seat.ready and locator.project:
            # Which projects there are is not known yet: the app goes there when it is.
            self.app.start_at = locator
            self.visit(dataclasses.replace(locator, project=""), remember=remember)
            return
        if locator.project in ("", here.project):
            self.visit(locator, remember=remember)
            return
        self.rows.restart()  # nothing may be done to the old rows while the project changes
        self._go_elsewhere(locator, here if remember else None)

    @work(group="project", exclusive=True)
    async def _go_elsewhere(self, locator: Locator, before: Locator | None) -> None:
        from core.errors import SkydeckError

        seat = self.app.seat
        try:
            if locator.project == ALL:
                seat.span(True)
            else:
                await seat.enter(locator.project.removeprefix("@"))
        except SkydeckError as bad:
            self.app.tell(bad.title, bad.hint, tone="bad")
            self.look_again()
            return
        if before is not None:
            self._past.append(before)
            self.remember_recent(locator)
        self.rows.marks.clear()
        self.visit(locator, remember=False)
        self._arrived = locator.filter

    def go_back(self, row: Row | None) -> None:
        if self.locator.filter != self._arrived:
            self.visit(dataclasses.replace(self.locator, filter=self._arrived), remember=False)
        elif self.rows.marks:
            self.go_clear_marks(row)
        elif self._past:
            self.go_history_back(row)
        elif self.locator.filter:
            self.visit(dataclasses.replace(self.locator, filter=""), remember=False)
        else:
            self.app.tell("this is the first list", ":q or Ctrl+Q quits", tone="ok")

    def go_history_back(self, row: Row | None) -> None:
        if self._past:
            self._future.append(self._here())
            self.go_to(self._past.pop(), remember=False)

    def go_history_forward(self, row: Row | None) -> None:
        if self._future:
            self._past.append(self._here())
            self.go_to(self._future.pop(), remember=False)

    def go_last(self, row: Row | None) -> None:
        if self._past:
            before, here = self._past.pop(), self._here()
            self._past.append(here)
            self.go_to(before, remember=False)

    # ------------------------------------------------------------------ recent lists

    def remember_recent(self, locator: Locator) -> None:
        """Give the list a number, or make it the last used of those that have one. Numbers stay: when all nine are
        taken, the one that was used longest ago goes to the new list."""
        wanted = dataclasses.replace(locator, project="", over="", cursor="")
        if wanted in self.recent:
            at = self.recent.index(wanted)
        elif len(self.recent) < RECENT:
            at = len(self.recent)
            self.recent.append(wanted)
        else:
            at = self._used[0]
            self.recent[at] = wanted
        self._used = [*(other for other in self._used if other != at), at]

    def go_recent(self, number: int, row: Row | None) -> None:
        if number > len(self.recent):
            self.app.tell(f"there is no list {number} yet", "Lists get their numbers as they are visited.", tone="ok")
        else:
            self.visit(self.recent[number - 1])

    go_recent_1 = functools.partialmethod(go_recent, 1)
    go_recent_2 = functools.partialmethod(go_recent, 2)
    go_recent_3 = functools.partialmethod(go_recent, 3)
    go_recent_4 = functools.partialmethod(go_recent, 4)
    go_recent_5 = functools.partialmethod(go_recent, 5)
    go_recent_6 = functools.partialmethod(go_recent, 6)
    go_recent_7 = functools.partialmethod(go_recent, 7)
    go_recent_8 = functools.partialmethod(go_recent, 8)
    go_recent_9 = functools.partialmethod(go_recent, 9)

    def shown_locator(self, locator: Locator) -> str:
        return locator.show(registry.VIEWS[locator.kind].aliases[0])

    def locator_text(self, row: Row | None = None) -> str:
        """Where this is, for a bookmark, the command line or another person."""
        seat, project = self.app.seat, ""
        if seat.ready:
            ctx = seat.ctx
            name = ctx.project_name
            project = ALL if ctx.all_projects else ctx.project_id if set(name) & set(' "/=') else name
        return self.shown_locator(dataclasses.replace(self.locator, project=project))

    # ------------------------------------------------------------------ filtering

    @property
    def listed_kind(self) -> str:
        return self.locator.kind

    def go_filter(self, row: Row | None) -> None:
        self._before_typing = self.locator.filter
        self.open_line("/", self.locator.filter)
        self.query_one(Bar).suggest(self.nothing_to_offer())

    def line_typed(self, sign: str, text: str) -> None:
        super().line_typed(sign, text)
        if sign == "/":
            self.visit(dataclasses.replace(self.locator, filter=text.strip()), remember=False)
            self.offer(completion.asked_filter(text), text)

    def line_left(self, sign: str) -> None:
        if sign == "/" and self.locator.filter != self._before_typing:
            self.visit(dataclasses.replace(self.locator, filter=self._before_typing), remember=False)
        self.draw_lines()

    def line_entered(self, sign: str, text: str) -> None:
        if sign == "/":
            self.app.history("/").add(text)
            if text != self.locator.filter:
                self.visit(dataclasses.replace(self.locator, filter=text), remember=False)
        super().line_entered(sign, text)
        self.draw_lines()

    def close_line(self) -> None:
        super().close_line()
        self.set_focus(self.rows)

    def nothing_to_offer(self) -> list[Cell]:
        """What a filter may say, or what is wrong with this one."""
        if self.query_one(Bar).typing != "/":
            return super().nothing_to_offer()
        if self._problem:
            return [(f"! {self._problem[0]}", "bad"), (f"  {self._problem[1]}", "")]
        columns = " ".join(column.key for column in self.view.columns if column.key)
        return [("words  !not  -f fuzzy  col=value,other: ", "dim"), (columns, "")]
