"""Fields that are chosen: one line each, the arrows or a typed letter move in it."""

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


class ManyLine(Widget, can_focus=True):
    """`[x] app  [ ] backup  [x] dmz`: any number of them; Space takes one in or leaves it out."""

    BINDINGS = [
        Binding("right,l", "step(1)", "next", id="many.next", show=False),
        Binding("left,h", "step(-1)", "before", id="many.before", show=False),
        Binding("space", "toggle", "take or leave", id="many.toggle", show=False),
    ]

    DEFAULT_CSS = """
    ManyLine { height: 1; width: 1fr; }
    ManyLine:focus { background: $primary 45%; }
    """

    class Changed(Message):
        """Others are chosen."""

    def __init__(self, options: Sequence[tuple[str, str]], value: str, *, id: str) -> None:
        """`value` is the keys of those chosen, by comma."""
        super().__init__(id=id)
        self._options = list(options)
        self._chosen = set(value.split(","))
        self._at = next((at for at, (key, _) in enumerate(self._options) if key in self._chosen), 0)

    @property
    def value(self) -> str:
        return ",".join(key for key, _ in self._options if key in self._chosen)

    def action_step(self, by: int) -> None:
        self._at = (self._at + by) % max(1, len(self._options))
        self.refresh()

    def action_toggle(self) -> None:
        if self._options:
            self._chosen ^= {self._options[self._at][0]}
            self.refresh()
            self.post_message(self.Changed())

    def on_key(self, event: events.Key) -> None:
        """A letter goes to the next that begins with it."""
        if event.character is None or not event.character.isalnum() or event.character in "hl":
            return
        for step in range(1, len(self._options) + 1):
            at = (self._at + step) % len(self._options)
            if self._options[at][1].lower().startswith(event.character.lower()):
                event.stop()
                self._at = at
                self.refresh()
                return

    def render(self) -> Text:
        """As many as fit, the one under the cursor among them."""
        parts = [f"[{'x' if key in self._chosen else ' '}] {safe(label)}" for key, label in self._options]
        text = Text(no_wrap=True, end="")
        room = self.size.width - len(" … 99 chosen")
        first = self._at
        while first and sum(len(part) + 2 for part in parts[first - 1 : self._at + 1]) <= room:
            first -= 1
        if first:
            text.append("… ", "bright_black")
        for at in range(first, len(parts)):
            if at > self._at and text.cell_len + len(parts[at]) > room:
                text.append(f"… {len(self._chosen & {key for key, _ in self._options})} chosen", "bright_black")
                break
            here = at == self._at and self.has_focus
            text.append(parts[at], "bold reverse" if here else "" if parts[at][1] == "x" else "bright_black")
            text.append("  ")
        text.truncate(self.size.width, overflow="ellipsis")
        return text
