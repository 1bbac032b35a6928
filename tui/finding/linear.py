"""A page of lines that were read before and are narrowed here: the frame of trees and of the messages."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.widgets import Input

from tui.finding import opening
from tui.locator import Locator
from tui.screens.acting import ActingScreen
from tui.verbs import GENERAL, Needs, Reason, Row, Verb
from tui.view import Cell, Lines
from tui.widgets.bar import Bar, Prompt
from tui.widgets.lines import Line
from tui.widgets.pages import PAGE
from tui.widgets.table import RowList

if TYPE_CHECKING:
    from tui.app import Skydeck


class LinearScreen(ActingScreen):
    """Subclasses say which lines there are; `show_lines` draws them, as far as the filter lets them through."""

    app: Skydeck

    HERE: ClassVar[frozenset[str]] = frozenset(
        {"filter", "back", "help", "menu", "refresh", "operations", "wide", "used_by", "owner", "tree"}
    )
    """The general verbs that there are."""
    LIST: ClassVar[type[RowList]] = RowList
    FILTERS: ClassVar[str] = "words of these lines"
    """What a filter may say."""

    def __init__(self) -> None:
        super().__init__()
        self.filtered = ""
        self._filter_before = ""
        self._stands_on: str | None = None
        self.bind_verbs()

    # ------------------------------------------------------------------ what subclasses give

    def lines(self) -> list[Row]:
        """All of them."""
        raise NotImplementedError

    def narrowed(self, words: Sequence[str]) -> list[Row]:
        """Those that hold all words."""
        raise NotImplementedError

    def crumb(self) -> tuple[list[Cell], list[Cell]]:
        """The title line: left and right."""
        raise NotImplementedError

    def status(self) -> tuple[list[Cell], list[Cell]]:
        """The last line: left and right."""
        return [], [("q", "key"), (" back", "dim")]

    def nothing(self) -> Lines:
        """What is said when there are no lines at all."""
        return [[("…", "dim")]]

    def is_object(self, row: Row) -> Reason | None:
        """Why general verbs of objects cannot be done to a line; None when they can."""
        raise NotImplementedError

    # ------------------------------------------------------------------ drawing

    def compose(self) -> ComposeResult:
        yield Line(id="header")
        yield Line(id="crumb")
        yield self.LIST(now=self.app.seat.now, id="rows")
        yield Bar()

    def on_mount(self) -> None:
        self.rows.use(self.view.columns, key=self.view.key, label=self.view.name, sort="")
        self.rows.focus()
        self.draw()
        self.set_interval(1.0, self.draw)

    @property
    def rows(self) -> RowList:
        return self.query_one(RowList)

    def stand_first_on(self, key: str) -> None:
        """Where the cursor is when the lines are drawn next."""
        self._stands_on = key

    def show_lines(self) -> None:
        if not self.is_attached or not self.query(RowList):
            return
        rows = self.rows
        lines = self.narrowed(self.filtered.lower().split()) if self.filtered else self.lines()
        nothing = self.nothing()
        if self.filtered:
            nothing = [[(f"Nothing matches /{self.filtered}", "")], [("Esc clears the filter.", "dim")]]
        rows.say([] if lines else nothing)
        stood = rows.cursor_id
        if self._stands_on is not None and lines:
            stood, self._stands_on = self._stands_on, None
            rows.fresh, rows.cursor_id = False, stood
        at = next((at for at, line in enumerate(lines) if line[self.view.key] == stood), None)
        pages = {number: lines[number * PAGE : (number + 1) * PAGE] for number in range(-(-len(lines) // PAGE))}
        rows.show(len(lines), pages, at=at, asked_for=stood)
        self.draw()

    def draw(self) -> None:
        if not self.is_mounted or not self.query(RowList):
            return
        self.draw_header(self.app.header)
        left, right = self.crumb()
        self.query_one("#crumb", Line).show(
            [*left, *([(f"   /{self.filtered}", "key")] if self.filtered else [])], right
        )
        self.rows.sync()
        bar = self.query_one(Bar)
        if not bar.typing:
            self.draw_keys()
        bar.status(*self.status())

    @on(RowList.Moved)
    def _moved(self) -> None:
        self.draw()

    @on(RowList.Opened)
    def _opened(self) -> None:
        self.action_do("open")

    def on_resize(self) -> None:
        self.draw()

    # ------------------------------------------------------------------ filtering

    def go_filter(self, row: Row | None) -> None:
        self._filter_before = self.filtered
        bar = self.query_one(Bar)
        bar.prompt("/", self.filtered)
        bar.suggest([(self.FILTERS, "dim")])

    @on(Input.Changed, "#prompt")
    def _changed(self, event: Input.Changed) -> None:
        self.narrow(event.value.strip())

    @on(Prompt.Left)
    def _left(self) -> None:
        self.narrow(self._filter_before)
        self._end_typing()

    @on(Input.Submitted, "#prompt")
    def _end_typing(self) -> None:
        self.query_one(Bar).close_prompt()
        self.set_focus(self.rows)
        self.draw()

    def narrow(self, text: str) -> None:
        """Show what a filter lets through."""
        self.filtered = text
        self.show_lines()

    # ------------------------------------------------------------------ verbs

    def under_cursor(self) -> Row | None:
        return self.rows.row

    def general(self) -> Sequence[Verb]:
        kept = [verb for verb in GENERAL if verb.name in self.HERE]
        back = next(verb for verb in kept if verb.name == "back")
        escape = dataclasses.replace(back, name="escape", key="escape", shown_key="Esc")
        return (*(self._guarded(verb) for verb in kept), escape)

    def _guarded(self, verb: Verb) -> Verb:
        if verb.needs is Needs.NOTHING:
            return verb
        return dataclasses.replace(verb, disabled_reason=lambda ctx, row: self.is_object(row))

    def go_back(self, row: Row | None) -> None:
        if self.filtered:
            self.narrow("")
        else:
            self.dismiss()

    def go_refresh(self, row: Row | None) -> None:
        self.show_lines()

    def go_wide(self, row: Row | None) -> None:
        self.rows.toggle_wide()

    def go_operations(self, row: Row | None) -> None:
        opening.show_list(self.app, Locator(kind="operation"))
