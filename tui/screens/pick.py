"""Choosing one thing of many before a verb is done: typing narrows the list, Enter takes what is highlighted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets import option_list as widgets

from tui.verbs import Option, Pick, Row
from tui.view import Cell
from tui.widgets.lines import Line, drawn, fit
from tui.widgets.typed import TypedLine

if TYPE_CHECKING:
    from tui.app import Skydeck

LABEL = 36
NOTE = 34
"""Cells for what there is, and for what is to be said of it."""


class PickScreen(ModalScreen[str | None]):
    """Answers the chosen option's value."""

    app: Skydeck

    BINDINGS = [
        Binding("escape", "leave", "cancel", id="pick.leave", show=False),
        Binding("down,tab,ctrl+n", "step('down')", "down", id="pick.down", show=False, priority=True),
        Binding("up,shift+tab", "step('up')", "up", id="pick.up", show=False, priority=True),
        Binding("pagedown", "step('page_down')", "page down", id="pick.page_down", show=False, priority=True),
        Binding("pageup", "step('page_up')", "page up", id="pick.page_up", show=False, priority=True),
    ]

    def __init__(self, pick: Pick, row: Row, name: str) -> None:
        super().__init__()
        self._pick = pick
        self._row = row
        self._name = name
        self._options: list[Option] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog menu"):
            yield Line(id="title")
            yield TypedLine(id="narrow", compact=True, placeholder="type to narrow")
            yield OptionList(compact=True)
            yield Line(id="foot")

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self._title([("…", "dim")])
        self.query_one("#foot", Line).show(
            [("Enter", "key"), (" takes it  ", ""), ("↑ ↓", "key"), (" move  ", ""), ("Esc", "key"), (" cancel", "")]
        )
        self.query_one(Input).focus()
        self._load()

    def _title(self, right: list[Cell]) -> None:
        self.query_one("#title", Line).show([(f"{self._pick.title}: ", ""), (self._name, "head")], right)

    @work(exclusive=True, group="load")
    async def _load(self) -> None:
        from core.errors import SkydeckError

        ctx = self.app.seat.request()
        try:
            self._options = await self.app.seat.read(lambda session: self._pick.load(session, ctx, self._row))
        except SkydeckError as bad:
            self.dismiss(None)
            self.app.tell(bad.title, bad.hint, tone="bad")
            return
        if not self._options:
            self.dismiss(None)
            self.app.tell(*self._pick.none, tone="warn")
            return
        self._show("")

    @on(Input.Changed)
    def _narrowed(self, event: Input.Changed) -> None:
        self._show(event.value)

    def _show(self, text: str) -> None:
        needle = text.strip().lower()
        found = [option for option in self._options if needle in f"{option.label} {option.note}".lower()]
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([_drawn(option) for option in found])
        options.highlighted = 0 if found else None
        self._title([(f"{len(found)} of {len(self._options)}", "dim")])

    @on(Input.Submitted)
    def _entered(self) -> None:
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            self.dismiss(options.get_option_at_index(options.highlighted).id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_step(self, way: str) -> None:
        options = self.query_one(OptionList)
        {
            "down": options.action_cursor_down,
            "up": options.action_cursor_up,
            "page_down": options.action_page_down,
            "page_up": options.action_page_up,
        }[way]()

    def action_leave(self) -> None:
        self.dismiss(None)


def _drawn(option: Option) -> widgets.Option:
    cells: list[Cell] = [(fit(option.label, LABEL), option.tone), ("  ", ""), (fit(option.note, NOTE).rstrip(), "dim")]
    return widgets.Option(drawn(cells), id=option.value)
