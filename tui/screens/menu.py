"""All actions of an object: their keys, what they do, and for those that cannot be done now, why."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui.verbs import Reason, Verb
from tui.widgets.lines import Line, drawn, fit

WIDTH = 54
"""Cells for what a verb does, or why it cannot be done: one line each."""


class Menu(ModalScreen[str | None]):
    """Answers the chosen verb's name. The verbs' own keys work here too; of one that cannot be done it is told why."""

    BINDINGS = [
        Binding("escape,q,a", "leave", "back", id="menu.leave", show=False),
        Binding("j", "step('down')", "down", id="menu.down", show=False),
        Binding("k", "step('up')", "up", id="menu.up", show=False),
    ]

    def __init__(self, title: str, entries: Sequence[tuple[Verb, Reason | None]]) -> None:
        super().__init__()
        self._title = title
        self._entries = entries

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog menu"):
            yield Line(id="title")
            yield OptionList(*(self._option(verb, why) for verb, why in self._entries), compact=True)

    def _option(self, verb: Verb, why: Reason | None) -> Option:
        tone = "dim" if why else "bad" if verb.dangerous else ""
        cells = [(f"{verb.symbol:>4}  ", "dim" if why else "key"), (f"{verb.label:<9}", tone)]
        cells.append((fit(why[0] if why else verb.help, WIDTH).rstrip(), "dim" if why else ""))
        return Option(drawn(cells), id=verb.name)

    def on_mount(self) -> None:
        self.query_one("#title", Line).show(
            [(self._title, "head")], [("Enter does it, or says why not; q back", "dim")]
        )
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def on_key(self, event: events.Key) -> None:
        for verb, _ in self._entries:
            if event.key == verb.key and verb.key not in ("enter", "a"):
                event.stop()
                self.dismiss(verb.name)
                return

    def action_step(self, way: str) -> None:
        options = self.query_one(OptionList)
        options.action_cursor_down() if way == "down" else options.action_cursor_up()

    def action_leave(self) -> None:
        self.dismiss(None)
