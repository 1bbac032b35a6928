"""One field on the page: its label, what is typed or chosen, and below it what is wrong with that."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from tui.view import Cell, Field, Loaded
from tui.widgets.choice import ChoiceLine, ManyLine
from tui.widgets.lines import Line, page
from tui.widgets.typed import TypedLine

LABEL = 12
"""Cells of a label, its gap included."""


class Entry(Vertical):
    """A field. Its value is text, whatever it is typed or chosen with."""

    DEFAULT_CSS = """
    Entry { height: auto; }
    Entry .wrong { height: auto; padding-left: 12; display: none; }
    """

    def __init__(self, field: Field, loaded: Loaded, value: str) -> None:
        super().__init__()
        self.field = field
        widget: ChoiceLine | ManyLine | Input
        if field.several:
            widget = ManyLine(loaded.choices.get(field.name, []), value, id=field.name)
        elif field.choices:
            widget = ChoiceLine(loaded.choices.get(field.name, []), value, id=field.name)
        else:
            # A name that was made up for something new is in nobody's way: what is typed first takes its place.
            made_up = field.name == "name" and "id" not in loaded.values
            widget = TypedLine(value, placeholder=field.hint, id=field.name, compact=True, select_on_focus=made_up)
        self.widget = widget
        self._wrong = Static(classes="wrong", markup=False)

    def compose(self) -> ComposeResult:
        with Horizontal(classes="field"):
            label = Line(classes="label")
            label.show([(f"{self.field.label:<{LABEL}}", "dim")])
            yield label
            yield self.widget
        yield self._wrong

    @property
    def value(self) -> str:
        return self.widget.value

    def say(self, title: str, hint: str, tone: str) -> None:
        """What is wrong with it, and the next act, right below; an empty title takes that away."""
        self._wrong.display = bool(title)
        if title:
            cells: list[Cell] = [("! ", tone), (title, tone)]
            self._wrong.update(page([[*cells, (f"  {hint}", "")] if hint else cells]))
