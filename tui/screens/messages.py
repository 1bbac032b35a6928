"""What the app said so far, newest first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tui.screens.reading import Reading
from tui.view import Cell, Lines

if TYPE_CHECKING:
    from tui.app import Skydeck


class Messages(Reading):
    app: Skydeck

    def title_cells(self) -> list[Cell]:
        return [("Messages", "head")]

    def lines(self, width: int) -> Lines:
        self.app.notes.errors = 0
        lines: Lines = []
        for note in self.app.notes.newest_first():
            clock = time.strftime("%H:%M:%S", time.localtime(note.at / 1_000_000))
            lines.append([(f"{clock}  ", "dim"), (note.title, note.tone)])
            if note.hint:
                lines.append([(f"          {note.hint}", "")])
        return lines or [[("Nothing was said yet.", "dim")]]
