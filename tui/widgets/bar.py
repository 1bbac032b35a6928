"""The bottom of a list: the keys, or the question that is asked, or what was just said; below it the locator, or the
line that is being typed. Two lines always, so that nothing above them ever moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from tui.verbs import Choice
from tui.view import Cell
from tui.widgets.lines import Line
from tui.widgets.typed import TypedLine

SHOWN = 6.0
"""Seconds a message covers the keys."""


class Question(Line, can_focus=True):
    """A question with its answers. While it is asked it has the keyboard; any other key is No."""

    class Answered(Message):
        """It is over, one way or the other."""

    def __init__(self) -> None:
        super().__init__(id="question")
        self._before: Widget | None = None
        self._answer: asyncio.Future[str | None] | None = None
        self._choices: Sequence[Choice] = ()

    def ask(self, text: str, choices: Sequence[Choice], *, tone: str) -> asyncio.Future[str | None]:
        """The chosen value; None when cancelled.

        The question has the keyboard when this returns: the next key, however fast it was typed, is its answer.
        """
        self.cancel()
        self._choices = choices
        self._answer = asyncio.get_running_loop().create_future()
        labels = "   ".join(choice.label for choice in choices)
        self.show([(f" {text} ", tone), (f"  {labels}   [N] cancel", "head")])
        self.display = True
        self._before = self.screen.focused
        self.screen.set_focus(self)
        return self._answer

    def cancel(self) -> None:
        self._end(None)

    def _end(self, value: str | None) -> None:
        if self._answer is None or self._answer.done():
            return
        self._answer.set_result(value)
        if self.has_focus:
            self.screen.set_focus(self._before)
        self.display = False
        self.post_message(self.Answered())

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return True  # no binding may act while a question waits

    def on_key(self, event: events.Key) -> None:
        if self._answer is None or self._answer.done():
            return  # typed after the answer: it goes on to whoever has the keyboard now
        event.stop()
        event.prevent_default()
        pressed = event.character or event.key
        for choice in self._choices:
            if pressed == choice.key:
                self._end(choice.value)
                return
        self.cancel()

    def on_blur(self) -> None:
        self.cancel()


class Prompt(TypedLine):
    """The line for `:` and `/`."""

    BINDINGS = [
        Binding("escape", "leave", "leave the line", id="prompt.leave", show=False),
        Binding("tab", "step(1)", "put the next candidate in", id="prompt.next", show=False),
        Binding("shift+tab", "step(-1)", "put the candidate before in", id="prompt.before", show=False),
        Binding("up,ctrl+p", "recall(True)", "an older line that begins so", id="prompt.older", show=False),
        Binding("down,ctrl+n", "recall(False)", "a newer line", id="prompt.newer", show=False),
    ]

    DEFAULT_CSS = """
    Prompt, Prompt:focus { height: 1; border: none; padding: 0; background: $surface; width: 1fr; }
    """

    class Left(Message):
        """Typing was given up."""

    class Stepped(Message):
        """Another suggestion is wanted."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    class Recalled(Message):
        """A line typed before is wanted."""

        def __init__(self, older: bool) -> None:
            super().__init__()
            self.older = older

    def action_leave(self) -> None:
        self.post_message(self.Left())

    def action_recall(self, older: bool) -> None:
        self.post_message(self.Recalled(older))

    def action_step(self, by: int) -> None:
        self.post_message(self.Stepped(by))


class Bar(Vertical):
    """Both lines."""

    DEFAULT_CSS = """
    Bar { height: 2; dock: bottom; }
    Bar #question, Bar #prompt-line { display: none; }
    Bar #prompt-line { height: 1; layout: horizontal; }
    Bar #prompt-sign { width: 1; }
    """

    def __init__(self) -> None:
        super().__init__(id="bar")
        self._keys: Callable[[int], list[Cell]] = lambda width: []
        self._status: tuple[list[Cell], list[Cell]] = ([], [])
        self._said: list[Cell] | None = None
        self._hint: list[Cell] = []
        self._until: object | None = None

    def compose(self) -> ComposeResult:
        yield Line(id="keys")
        yield Question()
        yield Line(id="status")
        with Vertical(id="prompt-line"):
            yield Line(id="prompt-sign")
            yield Prompt(id="prompt", compact=True, select_on_focus=False)

    # ------------------------------------------------------------------ keys, messages, status

    def keys(self, draw: Callable[[int], list[Cell]]) -> None:
        """`draw(width)` gives the footer."""
        self._keys = draw
        self._update()

    def status(self, left: list[Cell], right: list[Cell]) -> None:
        self._status = (left, right)
        self._update()

    def say(self, title: str, hint: str, tone: str) -> None:
        """Cover the keys with a message, and the locator with its hint, for a while."""
        self._said = [({"bad": "! ", "warn": "! ", "ok": ""}.get(tone, "") + title, tone)]
        self._hint = [(f"  {hint}", "")] if hint else []
        self._update()
        token = self._until = object()
        self.set_timer(SHOWN, lambda: self.hush(token))

    def hush(self, token: object | None = None) -> None:
        """Show the keys again; a timer's token of an earlier message does nothing."""
        if token is None or token is self._until:
            self._said, self._hint = None, []
            self._update()

    def _update(self) -> None:
        if not self.is_mounted:
            return
        if not self.typing:  # else suggestions stand there
            keys = self.query_one("#keys", Line)
            keys.show(self._said if self._said is not None else self._keys(self.size.width * max(1, keys.size.height)))
        left, right = self._status
        self.query_one("#status", Line).show(self._hint or left, () if self._hint else right)

    def on_resize(self) -> None:
        self._update()

    # ------------------------------------------------------------------ questions and typing

    def ask(self, text: str, choices: Sequence[Choice], *, tone: str) -> asyncio.Future[str | None]:
        """Ask in the place of the keys, from this moment on."""
        answer = self.query_one(Question).ask(text, choices, tone=tone)
        self.query_one("#keys", Line).display = False
        return answer

    def on_question_answered(self) -> None:
        self.query_one("#keys", Line).display = not self.query_one(Question).display

    @property
    def typing(self) -> str:
        """`:` or `/` while the prompt is open."""
        return self._sign if self.query_one("#prompt-line").display else ""

    _sign = ""

    def prompt(self, sign: str, text: str) -> None:
        """Open the line for typing."""
        self._sign = sign
        self.hush()
        self.query_one("#prompt-sign", Line).show([(sign, "key")])
        self.query_one("#status").display = False
        self.query_one("#prompt-line").display = True
        prompt = self.query_one(Prompt)
        with prompt.prevent(Input.Changed):
            prompt.value = text
        prompt.cursor_position = len(text)
        self.screen.set_focus(prompt)  # at once: keys typed fast belong to the line, not to the list's verbs

    def suggest(self, cells: list[Cell]) -> None:
        """In the place of the keys, while typing."""
        self.query_one("#keys", Line).show(cells)

    def close_prompt(self) -> None:
        self.query_one("#prompt-line").display = False
        self.query_one("#status").display = True
        self._update()


def footer(entries: Sequence[tuple[str, str, bool]], width: int) -> list[Cell]:
    """`(key, label, enabled)…` as far as they fit; `? help` always does."""
    cells: list[Cell] = []
    room = width - len("? help")
    for key, label, enabled in entries:
        needed = len(key) + len(label) + 3
        if needed > room:
            break
        room -= needed
        cells += [(key, "key" if enabled else "dim"), (f" {label}  ", "" if enabled else "dim")]
    return [*cells, ("?", "key"), (" help", "")]
