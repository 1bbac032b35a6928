"""A page of text in front of the list: the frame of the help and of the messages."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.keymap import moving
from tui.view import Cell, Lines
from tui.widgets.lines import Line, page


class Reading(ModalScreen[None]):
    """Scrolls with the list's keys; q and Esc go back."""

    BINDINGS = [
        Binding("escape,q,question_mark,M", "leave", "back", id="reading.leave", show=False),
        *moving(
            down="scroll(1)",
            up="scroll(-1)",
            half_down="leap(0.5)",
            half_up="leap(-0.5)",
            page_down="leap(1)",
            page_up="leap(-1)",
            top="scroll(-100000)",
            bottom="scroll(100000)",
        ),
    ]

    def compose(self) -> ComposeResult:
        yield Line(id="title")
        with VerticalScroll(id="body"):
            yield Static(id="text", markup=False)
        yield Line(id="foot")

    def on_mount(self) -> None:
        self.query_one("#title", Line).show(self.title_cells())
        self.query_one("#foot", Line).show([("q", "key"), (" back  ", ""), ("j k", "key"), (" scroll", "")])
        self.query_one("#text", Static).update(page(self.lines(self.app.size.width)))
        self.query_one("#body").focus()

    def title_cells(self) -> list[Cell]:
        raise NotImplementedError

    def lines(self, width: int) -> Lines:
        raise NotImplementedError

    def action_scroll(self, by: int) -> None:
        self.query_one("#body").scroll_relative(y=by, animate=False)

    def action_leap(self, pages: float) -> None:
        body = self.query_one("#body")
        body.scroll_relative(y=round(body.size.height * pages), animate=False)

    def action_leave(self) -> None:
        self.dismiss(None)
