"""A page of text in front of the list: the frame of the help and of the messages."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.view import Cell, Lines
from tui.widgets.lines import Line, page


class Reading(ModalScreen[None]):
    """Scrolls with the list's keys; q and Esc go back."""

    BINDINGS = [
        Binding("escape,q,question_mark,M", "leave", "back", id="reading.leave", show=False),
        Binding("j", "scroll(1)", "down", id="reading.down", show=False),
        Binding("k", "scroll(-1)", "up", id="reading.up", show=False),
        Binding("ctrl+d,ctrl+f", "scroll(10)", "page down", id="reading.page_down", show=False),
        Binding("ctrl+u", "scroll(-10)", "page up", id="reading.page_up", show=False),
        Binding("g", "scroll(-100000)", "top", id="reading.top", show=False),
        Binding("G", "scroll(100000)", "bottom", id="reading.bottom", show=False),
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

    def action_leave(self) -> None:
        self.dismiss(None)
