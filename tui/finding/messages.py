"""What the app said so far, newest first: searched, copied, and gone from to what it was about."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tui.finding import opening
from tui.finding.linear import LinearScreen
from tui.finding.trail import trail
from tui.verbs import COPY, OPEN, Reason, Row
from tui.view import Cell, Column, Lines, View

if TYPE_CHECKING:
    from tui.app import Skydeck


def _about(ctx: object, row: Row) -> Reason | None:
    return None if row["about"] else ("it is about no single object", "")


VIEW = View(
    kind="message",
    title="Messages",
    aliases=("messages",),
    columns=(
        Column(title="TIME", width=8, cell=lambda row, now: (row["time"], "dim")),
        Column(title="MESSAGE", width=44, grow=60, cell=lambda row, now: (row["title"], row["tone"])),
        Column(title="NEXT", width=20, grow=60, cell=lambda row, now: (row["hint"], "")),
    ),
    verbs=(
        dataclasses.replace(OPEN, help="Open what it is about", disabled_reason=_about),
        dataclasses.replace(COPY, help="Copy the message, what to do next, or both as JSON", footer=True),
    ),
    key="key",
    name="title",
    sort="",
    copies=("title", "hint"),
)
"""Not a list of the registry: it has no listing, and a screen of its own."""


class MessagesScreen(LinearScreen):
    app: Skydeck
    view = VIEW
    trail_name = "Messages"
    HERE = frozenset({"filter", "back", "help", "menu", "messages", "operations", "refresh"})

    def on_mount(self) -> None:
        super().on_mount()
        self.app.rows_changed.subscribe(self, lambda _: self.show_lines())
        self.call_after_refresh(self.show_lines)

    def lines(self) -> list[Row]:
        self.app.notes.errors = 0
        lines = []
        for number, note in enumerate(self.app.notes.newest_first()):
            clock = time.strftime("%H:%M:%S", time.localtime(note.at / 1_000_000))
            told = dataclasses.asdict(note)
            lines.append({**told, "time": clock, "key": str(self.app.notes.count - number)})
        return lines

    def narrowed(self, words: Sequence[str]) -> list[Row]:
        return [
            line
            for line in self.lines()
            if all(word in f"{line['time']} {line['title']} {line['hint']}".lower() for word in words)
        ]

    def is_object(self, row: Row) -> Reason | None:
        return _about(None, row)

    def crumb(self) -> tuple[list[Cell], list[Cell]]:
        return [*trail(self), ("Messages", "head"), (f" {self.rows.pages.count}", "")], []

    def status(self) -> tuple[list[Cell], list[Cell]]:
        row = self.under_cursor()
        left: list[Cell] = [] if row is None else [(row["hint"] or row["title"], "")]
        return left, super().status()[1]

    def nothing(self) -> Lines:
        return [[("Nothing was said yet.", "dim")]]

    def go_messages(self, row: Row | None) -> None:
        self.dismiss()

    def go_open(self, row: Row | None) -> None:
        assert row is not None
        opening.open_object(self.app, *row["about"])
