"""Typing it out: the confirmation of what cannot be taken back."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from tui.widgets.lines import Line
from tui.widgets.typed import TypedLine


class TypeOut(ModalScreen[bool]):
    """Answers True when the word was typed exactly."""

    BINDINGS = [Binding("escape", "leave", "cancel", id="confirm.leave", show=False)]

    def __init__(self, what: str, word: str) -> None:
        super().__init__()
        self._what = what
        self._word = word

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog danger"):
            yield Line(id="what")
            yield Line(id="how")
            yield TypedLine(id="word", compact=True)

    def on_mount(self) -> None:
        self.query_one("#what", Line).show([(self._what, "bad")])
        self.query_one("#how", Line).show([("Type ", ""), (self._word, "head"), (" and Enter; Esc cancels", "")])
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip() == self._word:
            self.dismiss(True)
        else:
            self.query_one("#how", Line).show([("That is not ", "bad"), (self._word, "head"), ("; Esc cancels", "")])

    def action_leave(self) -> None:
        self.dismiss(False)
