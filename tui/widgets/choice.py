"""A field that is chosen: one line, the arrows or a typed letter change it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.widget import Widget

from tui.text import safe


class ChoiceLine(Widget, can_focus=True):
    """`< m1.tiny  1v/512M/1G >   2 of 5`."""

    BINDINGS = [
        Binding("right,space,l", "step(1)", "next", id="choice.next", show=False),
        Binding("left,h", "step(-1)", "before", id="choice.before", show=False),
    ]

    DEFAULT_CSS = """
    ChoiceLine { height: 1; width: 1fr; }
    ChoiceLine:focus { background: $primary 45%; text-style: bold; }
    ChoiceLine:focus:nocolor { text-style: bold reverse; }
    """

    class Changed(Message):
        """Another value is chosen."""

    def __init__(self, options: Sequence[tuple[str, str]], value: str, *, id: str) -> None:
        super().__init__(id=id)
        self._options = list(options) or [("", "none")]
        self._at = next((at for at, (key, _) in enumerate(self._options) if key == value), 0)

    @property
    def value(self) -> str:
        return self._options[self._at][0]

    def action_step(self, by: int) -> None:
        self._choose((self._at + by) % len(self._options))

    def _choose(self, at: int) -> None:
        if at != self._at:
            self._at = at
            self.refresh()
            self.post_message(self.Changed())

    def on_key(self, event: events.Key) -> None:
        """A letter jumps to the next option that begins with it."""
        if event.character is None or not event.character.isalnum() or event.character in "hl":
            return
        count = len(self._options)
        for step in range(1, count + 1):
            at = (self._at + step) % count
            if self._options[at][1].lower().startswith(event.character.lower()):
                event.stop()
                self._choose(at)
                return

    def render(self) -> Text:
        several = len(self._options) > 1
        text = Text("< " if several else "  ", "bright_black", no_wrap=True, end="")
        text.append(safe(self._options[self._at][1]), "")
        text.append(" >" if several else "", "bright_black")
        if several:
            text.append(f"   {self._at + 1} of {len(self._options)}", "bright_black")
        text.truncate(self.size.width, overflow="ellipsis")
        return text
