"""Where the browser goes: locators, history, and the line in which they are typed."""

from __future__ import annotations

import dataclasses

from textual import on, work
from textual.widgets import Input

from tui import registry
from tui.locator import ALL, Locator, parse
from tui.screens.acting import ActingScreen
from tui.verbs import Row
from tui.view import Cell
from tui.widgets.bar import Bar, Prompt
from tui.widgets.table import RowList


class GoingScreen(ActingScreen):
    """The browser's half that decides what is looked at; the other half looks and draws."""

    locator: Locator
    rows: RowList

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
        self._suggested: list[str] = []
        self._pick = 0
        self._before_typing = ""

    # ------------------------------------------------------------------ what the browser gives

    def visit(self, locator: Locator, *, remember: bool = True) -> None:
        """Show another list, filter or order."""
        raise NotImplementedError

    def look_again(self) -> None:
        raise NotImplementedError

    def draw_lines(self) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------ projects and history

    def _here(self) -> Locator:
        """The present list with its project, so that history leads back to both."""
        seat = self.app.seat
        if not seat.ready:
            return dataclasses.replace(self.locator, over=self.in_front)
        project = ALL if seat.ctx.all_projects else seat.ctx.project_id
        return dataclasses.replace(self.locator, project=project, over=self.in_front)

    def go_to(self, locator: Locator, *, remember: bool = True) -> None:
        """Visit a locator that may name another project."""
        here = self._here()
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

    # ------------------------------------------------------------------ typing

    def go_command(self, row: Row | None) -> None:
        self.query_one(Bar).prompt(":", "")
        self._suggest("")

    def go_filter(self, row: Row | None) -> None:
        self._before_typing = self.locator.filter
        self.query_one(Bar).prompt("/", self.locator.filter)
        self.query_one(Bar).suggest(self.filter_help())

    @on(Input.Changed, "#prompt")
    def _typed(self, event: Input.Changed) -> None:
        if self.query_one(Bar).typing == "/":
            self.visit(dataclasses.replace(self.locator, filter=event.value.strip()), remember=False)
        elif self.query_one(Bar).typing == ":":
            self._suggest(event.value)

    def _suggest(self, text: str) -> None:
        word = text.split(" ", 1)[0]
        self._suggested = registry.suggest(word)
        self._pick = 0
        self._draw_suggestions()

    def _draw_suggestions(self) -> None:
        cells: list[Cell] = []
        first = 0
        while sum(len(name) + 3 for name in self._suggested[first : self._pick + 1]) > self.size.width:
            first += 1  # what is highlighted is in sight
        for place, name in enumerate(self._suggested[first:], first):
            cells += [(f" {name} ", "on" if place == self._pick else ""), (" ", "")]
        self.query_one(Bar).suggest(cells or [("no such list; Esc cancels", "warn")])

    @on(Prompt.Stepped)
    def _stepped(self, event: Prompt.Stepped) -> None:
        if self._suggested and self.query_one(Bar).typing == ":":
            self._pick = (self._pick + event.by) % len(self._suggested)
            self._draw_suggestions()

    @on(Prompt.Left)
    def _left(self) -> None:
        if self.query_one(Bar).typing == "/" and self.locator.filter != self._before_typing:
            self.visit(dataclasses.replace(self.locator, filter=self._before_typing), remember=False)
        self._end_typing()

    @on(Input.Submitted, "#prompt")
    def _entered(self, event: Input.Submitted) -> None:
        bar = self.query_one(Bar)
        if bar.typing == "/":
            self._end_typing()
            return
        word, locator = parse(event.value)
        self._end_typing()
        # The exact name wins; else what is highlighted.
        chosen = word if registry.known(word) else (self._suggested[self._pick] if self._suggested else word)
        if chosen in registry.COMMANDS:
            self.app.command(chosen, event.value.strip().removeprefix(":").partition(" ")[2].strip())
        elif (kind := registry.kind_of(chosen)) is not None:
            self.go_to(dataclasses.replace(locator, kind=kind))
        elif word:
            self.app.tell(f"there is no list called {word!r}", "Type : and look at what is offered.", tone="warn")

    def _end_typing(self) -> None:
        self.query_one(Bar).close_prompt()
        self.set_focus(self.rows)
        self.draw_lines()

    def filter_help(self) -> list[Cell]:
        """What a filter may say, or what is wrong with this one."""
        if self._problem:
            return [(f"! {self._problem[0]}", "bad"), (f"  {self._problem[1]}", "")]
        columns = " ".join(column.key for column in self.view.columns if column.key)
        return [("words  !not  col=value: ", "dim"), (columns, "")]
