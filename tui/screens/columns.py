"""`C`: which columns a list has, in which order and how wide; what is chosen is seen at once in the list beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui import shape
from tui.keymap import moving
from tui.view import Cell, Column, View
from tui.widgets.lines import Line, drawn, fit

NAME = 15
"""Cells of a column's title."""


@dataclasses.dataclass
class _Entry:
    column: Column
    """Its `wide` says whether it is shown only where there is room."""
    shown: bool
    width: int | None
    """Set by the person; None: as declared."""

    def turn(self) -> None:
        """Always shown, shown where there is room, not shown, and round again."""
        if not self.shown:
            self.shown, wide = True, False
        elif self.column.wide:
            self.shown, wide = False, True
        else:
            wide = True
        self.column = dataclasses.replace(self.column, wide=wide)


class ColumnChooser(ModalScreen[bool]):
    """Answers True when the choice is to be kept. `tried` hears every change: the words of the choice, or None for the
    declaration's own columns."""

    BINDINGS = [
        *moving(down="step('down')", up="step('up')", top="step('first')", bottom="step('last')"),
        Binding("space", "choose", "always shown, where there is room, hidden", id="columns.toggle", show=False),
        Binding("J,shift+down", "carry(1)", "put it further right", id="columns.later", show=False),
        Binding("K,shift+up", "carry(-1)", "put it further left", id="columns.sooner", show=False),
        Binding("right,plus,l", "widen(1)", "wider", id="columns.wider", show=False),
        Binding("left,minus,h", "widen(-1)", "narrower", id="columns.narrower", show=False),
        Binding("0", "widen(0)", "its usual width", id="columns.usual", show=False),
        Binding("s", "sort", "sort by it; once more: the other way round", id="columns.sort", show=False),
        Binding("r", "reset", "everything as declared", id="columns.reset", show=False),
        Binding("enter", "keep", "keep, in the settings' file too", id="columns.keep", show=False, priority=True),
        Binding("escape,q", "leave", "leave all as it was", id="columns.leave", show=False),
    ]

    def __init__(
        self,
        view: View,
        available: Sequence[Column],
        shown: Sequence[Column],
        tried: Callable[[list[str] | None], None],
        sorted_by: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._view = view
        self._available = tuple(available)
        self._tried = tried
        self._sorted_by = sorted_by
        declared = {shape.named(column): column for column in available}
        self._entries = []
        for column in shown:
            own = declared.get(shape.named(column), column)
            width = column.width if column.width != own.width else None
            self._entries.append(_Entry(dataclasses.replace(own, wide=column.wide), True, width))
        chosen = {shape.named(column) for column in shown}
        self._entries += [_Entry(column, False, None) for column in available if shape.named(column) not in chosen]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog menu"):
            yield Line(id="title")
            yield OptionList(compact=True)
            yield Line(id="foot")
            yield Line(id="more")

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.can_focus = False
        options.add_options([Option(self._drawn(entry)) for entry in self._entries])
        options.highlighted = 0
        self._title()
        keys: list[list[tuple[str, str]]] = [
            [("Space", "show, ?: room"), ("J K", "move"), ("← →", "width")],
            [("s", "sort"), ("0 r", "reset"), ("Enter", "keep"), ("Esc", "leave")],
        ]
        for id, line in zip(("#foot", "#more"), keys, strict=True):
            cells: list[Cell] = []
            for key, text in line:
                cells += [(key, "key"), (f" {text}  ", "")]
            self.query_one(id, Line).show(cells)

    def _title(self) -> None:
        count = sum(entry.shown for entry in self._entries)
        self.query_one("#title", Line).show(
            [("Columns of ", ""), (self._view.title.lower(), "head")], [(f"{count} of {len(self._entries)}", "dim")]
        )

    def _drawn(self, entry: _Entry) -> Text:
        mark, tone = ("[ ] ", "dim") if not entry.shown else ("[?] ", "warn") if entry.column.wide else ("[x] ", "ok")
        width, own = (entry.column.width, "dim") if entry.width is None else (entry.width, "key")
        return drawn(
            [
                (mark, tone),
                (fit(entry.column.title, NAME), "" if entry.shown else "dim"),
                (f"{width:>3}  ", own),
                (fit(entry.column.key, NAME).rstrip(), "dim"),
            ]
        )

    # ------------------------------------------------------------------ changing

    @property
    def _at(self) -> int:
        return self.query_one(OptionList).highlighted or 0

    def _changed(self, at: int) -> None:
        options = self.query_one(OptionList)
        for place, entry in enumerate(self._entries):
            options.replace_option_prompt_at_index(place, self._drawn(entry))
        options.highlighted = at
        self._title()
        self._tried(self._words())

    def _words(self) -> list[str] | None:
        words = [shape.word(entry.column, entry.width) for entry in self._entries if entry.shown]
        return None if words == [shape.word(column) for column in self._view.columns] else words

    def action_step(self, way: str) -> None:
        options = self.query_one(OptionList)
        {
            "down": options.action_cursor_down,
            "up": options.action_cursor_up,
            "first": options.action_first,
            "last": options.action_last,
        }[way]()

    def action_choose(self) -> None:
        entry = self._entries[self._at]
        entry.turn()
        if not any(one.shown and not one.column.wide for one in self._entries):
            entry.turn()  # a list without columns shows nothing
        self._changed(self._at)

    def action_carry(self, by: int) -> None:
        at = self._at
        to = at + by
        if 0 <= to < len(self._entries):
            self._entries[at], self._entries[to] = self._entries[to], self._entries[at]
            self._changed(to)

    def action_widen(self, by: int) -> None:
        entry = self._entries[self._at]
        width = (entry.width or entry.column.width) + by
        entry.width = max(shape.NARROWEST, min(shape.WIDEST, width)) if by else None
        self._changed(self._at)

    def action_sort(self) -> None:
        if key := self._entries[self._at].column.key:
            self._sorted_by(key)

    def action_reset(self) -> None:
        names = [shape.named(column) for column in self._view.columns]
        known = {shape.named(column): column for column in self._available}
        self._entries = [_Entry(column, name in names, None) for name, column in known.items()]
        self._changed(0)

    def action_keep(self) -> None:
        self.dismiss(True)

    def action_leave(self) -> None:
        self.dismiss(False)
