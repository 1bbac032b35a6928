"""A screen with a line to type into: `:` anywhere, completed as it is typed, with what was typed before.

Enter takes the exact name of a list, else the highlighted one; Tab puts candidates into the line; up and down go
through the history of lines that begin with what is typed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from tui import completion, registry, shape
from tui.commands import COMMANDS
from tui.completion import Asked, Candidate
from tui.text import safe
from tui.verbs import Row
from tui.view import Cell
from tui.widgets.bar import Bar, Prompt

if TYPE_CHECKING:
    from tui.app import Skydeck

VALUES = 200
"""Values of a column that are looked at, the most frequent first."""


class TypingScreen(Screen[None]):
    """Needs a Bar. What a line does is the app's business (`submit`)."""

    app: Skydeck

    def __init__(self) -> None:
        super().__init__()
        self._candidates: list[Candidate] = []
        self._pick = -1
        """The highlighted candidate."""
        self._typed = ""
        """The line as typed, without what Tab or the history put there."""
        self._focus_before: Widget | None = None

    # ------------------------------------------------------------------ opening and closing

    def go_command(self, row: Row | None) -> None:
        self.open_line(":", "")
        self._complete("")

    def open_line(self, sign: str, text: str) -> None:
        """The line has the keyboard from now on."""
        bar = self.query_one(Bar)
        if not bar.typing:
            self._focus_before = self.focused
        bar.prompt(sign, text)
        self._typed, self._candidates, self._pick = text, [], -1

    def close_line(self) -> None:
        self.query_one(Bar).close_prompt()
        if self._focus_before is not None and self._focus_before.is_attached:
            self.set_focus(self._focus_before)

    def line_left(self, sign: str) -> None:
        """Typing was given up."""

    def line_entered(self, sign: str, text: str) -> None:
        """Enter."""
        if sign == ":" and text:
            self.app.history(":").add(text)
            self.app.submit(text)

    def line_typed(self, sign: str, text: str) -> None:
        """Another letter."""
        if sign == ":":
            self._complete(text)

    # ------------------------------------------------------------------ what the line says

    @on(Input.Changed, "#prompt")
    def _changed(self, event: Input.Changed) -> None:
        if sign := self.query_one(Bar).typing:
            self._typed = event.value
            self.line_typed(sign, event.value)

    @on(Prompt.Left)
    def _left(self) -> None:
        sign = self.query_one(Bar).typing
        self.close_line()
        self.line_left(sign)

    @on(Input.Submitted, "#prompt")
    def _entered(self, event: Input.Submitted) -> None:
        sign, text = self.query_one(Bar).typing, event.value.strip()
        if sign == ":" and (first := self._first_word(text)) is not None:
            text = first
        self.close_line()
        self.line_entered(sign, text)

    def _first_word(self, text: str) -> str | None:
        """The line with its first word made whole: the exact name wins, else what is highlighted."""
        word, blank, rest = text.removeprefix(":").partition(" ")
        if registry.known(word) or word in self.app.settings.bookmarks:
            return None
        found = [one.line for one in self._candidates] if not blank else registry.suggest(word)
        pick = max(0, self._pick) if not blank else 0
        return f"{found[pick]}{blank}{rest}" if word and found else None

    @on(Prompt.Stepped)
    def _stepped(self, event: Prompt.Stepped) -> None:
        if not self._candidates:
            return
        if self._pick < 0 or self._line != self._candidates[self._pick].line:
            # The highlighted one first, then the next.
            self._pick = max(0, self._pick) if event.by > 0 else len(self._candidates) - 1
        else:
            self._pick = (self._pick + event.by) % len(self._candidates)
        self._put(self._candidates[self._pick].line)
        self._draw_candidates()

    @on(Prompt.Recalled)
    def _recalled(self, event: Prompt.Recalled) -> None:
        history, line = self.app.history(self.query_one(Bar).typing), self._line
        if event.older:
            found = history.older(self._typed, line if line != self._typed else None)
        else:
            found = history.newer(self._typed, line) or self._typed
        if found is not None:
            self._put(found)
            self.line_typed(self.query_one(Bar).typing, found)

    @property
    def _line(self) -> str:
        return self.query_one(Prompt).value

    def _put(self, text: str) -> None:
        """Into the line, as if nothing had been typed."""
        prompt = self.query_one(Prompt)
        with prompt.prevent(Input.Changed):
            prompt.value = text
        prompt.cursor_position = len(text)

    # ------------------------------------------------------------------ completing

    def _complete(self, text: str) -> None:
        self.offer(completion.asked(text, is_command=lambda word: word in COMMANDS), text)

    def offer(self, asked: Asked, text: str) -> None:
        """Show what could be meant, now or as soon as it was looked up."""
        word = text.split(" ", 1)[0]
        kind = registry.kind_of(word) if self.query_one(Bar).typing == ":" else self.listed_kind
        if asked.what == "word":
            self._candidates = [Candidate(name, name) for name in self._suggested(asked.typed)]
            self._pick = 0 if self._candidates else -1
        else:
            self._pick = -1
            self._candidates = asked.candidates(self._known(asked, kind))
        self._draw_candidates()
        if kind is not None and asked.what in ("project", "value") and self.app.seat.ready:
            self._look_up(asked, kind)

    def offer_again(self) -> None:
        """What a command looked up is there now."""
        if self.is_attached and self.query_one(Bar).typing == ":" and self._line == self._typed:
            self._complete(self._typed)

    @property
    def listed_kind(self) -> str | None:
        """The noun that a filter is typed for."""
        return None

    def _suggested(self, text: str) -> list[str]:
        used = [line.split(" ", 1)[0] for line in self.app.history(":").lines]
        weight = {kind: used.count(kind) for kind in set(used)}
        names = [*registry.suggest(text), *(name for name in self.app.settings.bookmarks if text and text in name)]
        if registry.known(text):
            return names[:1] + sorted(names[1:], key=lambda name: -weight.get(name, 0))
        starts = [name for name in names if name.startswith(text)]
        others = [name for name in names if name not in starts]
        return [*sorted(starts, key=lambda name: -weight.get(name, 0)), *others]

    def _known(self, asked: Asked, kind: str | None) -> Sequence[str]:
        if asked.what == "argument":
            return COMMANDS[asked.column].complete(self.app, asked.typed)
        if kind is None or asked.what not in ("column", "sort"):
            return ()
        return self._columns_of(kind)

    def _columns_of(self, kind: str) -> list[str]:
        view = registry.VIEWS[kind]
        listing = self.app.seat.listings.get(kind)
        columns = shape.available(view, listing.plain if listing else ())
        return [column.key for column in columns if column.key]

    @work(group="complete", exclusive=True)
    async def _look_up(self, asked: Asked, kind: str) -> None:
        """Values of a column as they are in the store, the most frequent first; projects by name."""
        from core import listing as lists
        from core.errors import SkydeckError

        seat, typed = self.app.seat, self._typed
        ctx, listing = seat.ctx, seat.listings[kind]

        def read(session: Any) -> list[str]:
            if asked.what == "project":
                return completion.projects([row["name"] for row in lists.page(session, ctx, seat.listings["project"])])
            column = shape.column_key(registry.VIEWS[kind], listing.plain, asked.column)
            return lists.values(session, ctx, listing, column, limit=VALUES)

        try:
            found = await seat.read(read)
        except SkydeckError:
            return  # no such column: said when the line is entered
        if self.is_attached and self.query_one(Bar).typing and self._typed == typed:
            self._candidates = [*asked.candidates(found), *asked.terms(self._columns_of(kind))]
            self._draw_candidates()

    def _draw_candidates(self) -> None:
        bar = self.query_one(Bar)
        cells: list[Cell] = []
        first = 0
        while sum(len(one.shown) + 3 for one in self._candidates[first : self._pick + 1]) > self.size.width:
            first += 1  # what is highlighted is in sight
        for place, one in enumerate(self._candidates[first:], first):
            cells += [(f" {safe(one.shown)} ", "on" if place == self._pick else ""), (" ", "")]
        bar.suggest(cells or self.nothing_to_offer())

    def nothing_to_offer(self) -> list[Cell]:
        """Shown in place of candidates."""
        word, blank, rest = self._typed.partition(" ")
        command = COMMANDS.get(word)
        if command is not None and command.preview is not None and blank:
            return command.preview(self.app, rest.lstrip())
        if command is not None:
            return [(command.help, "dim"), (f"   :{word} {command.usage}", "dim" if command.usage else "")]
        if not blank and not registry.suggest(word):
            return [("no such list; Esc cancels", "warn")]
        return [("PROJECT  /filter  col=value  sort=-col", "dim")]
