"""A page of text in front of the list: the frame of the help and of the messages."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tui.keymap import moving
from tui.view import Cell, Lines
from tui.widgets.lines import Line, page
from tui.widgets.typed import TypedLine


class Reading(ModalScreen[None]):
    """Scrolls with the list's keys; q and Esc go back."""

    DEFAULT_CSS = """
    Reading #search { height: 1; display: none; }
    Reading #search-sign { width: 1; }
    Reading #sought { width: 1fr; }
    """

    BINDINGS = [
        Binding("escape,q,question_mark,M", "leave", "back; a search goes first", id="reading.leave", show=False),
        Binding("slash", "search", "only the lines that hold what is typed", id="reading.search", show=False),
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

    def __init__(self) -> None:
        super().__init__()
        self.sought = ""
        """What the lines have to hold."""

    def compose(self) -> ComposeResult:
        yield Line(id="title")
        with VerticalScroll(id="body"):
            yield Static(id="text", markup=False)
        yield Line(id="foot")
        with Horizontal(id="search"):
            yield Line(id="search-sign")
            yield TypedLine(id="sought", compact=True)

    def on_mount(self) -> None:
        self.query_one("#title", Line).show(self.title_cells())
        self.query_one("#search-sign", Line).show([("/", "key")])
        self._foot()
        self.show_lines()
        self.query_one("#body").focus()

    def title_cells(self) -> list[Cell]:
        raise NotImplementedError

    def lines(self, width: int) -> Lines:
        raise NotImplementedError

    def narrowed(self, lines: Lines) -> Lines:
        """The lines that hold every word that is sought."""
        words = self.sought.lower().split()
        texts = ["".join(text for text, _ in line).lower() for line in lines]
        return [line for line, text in zip(lines, texts, strict=True) if all(word in text for word in words)]

    def show_lines(self) -> None:
        """Draw them as they are now."""
        lines = self.lines(self.app.size.width)
        self.query_one("#text", Static).update(page(self.narrowed(lines) if self.sought else lines))

    def _foot(self) -> None:
        cells: list[Cell] = [("q", "key"), (" back  ", ""), ("j k", "key"), (" scroll  ", ""), ("/", "key")]
        cells.append((" search", ""))
        if self.sought:
            cells += [(f"   /{self.sought}", "key"), ("  Esc shows all", "dim")]
        self.query_one("#foot", Line).show(cells)

    # ------------------------------------------------------------------ searching

    def action_search(self) -> None:
        self.query_one("#foot").display = False
        self.query_one("#search").display = True
        self.query_one(Input).focus()

    @on(Input.Changed, "#sought")
    def _typed(self, event: Input.Changed) -> None:
        self._seek(event.value.strip())

    @on(Input.Submitted, "#sought")
    def _entered(self) -> None:
        self.query_one("#search").display = False
        self.query_one("#foot").display = True
        self._foot()
        self.query_one("#body").focus()

    def _seek(self, text: str) -> None:
        self.sought = text
        self.show_lines()
        self.query_one("#body").scroll_home(animate=False)

    def action_scroll(self, by: int) -> None:
        self.query_one("#body").scroll_relative(y=by, animate=False)

    def action_leap(self, pages: float) -> None:
        body = self.query_one("#body")
        body.scroll_relative(y=round(body.size.height * pages), animate=False)

    def action_leave(self) -> None:
        if not (self.sought or self.query_one("#search").display):
            self.dismiss(None)
            return
        with self.prevent(Input.Changed):
            self.query_one(Input).value = ""
        self._seek("")
        self._entered()
