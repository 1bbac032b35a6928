"""One-line widgets and the drawing of cells: the edge where every text becomes safe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual.widget import Widget

from tui.text import safe
from tui.view import Cell, Lines

TONES = {
    "": "",
    "ok": "green",
    "busy": "cyan",
    "bad": "bold red",
    "warn": "yellow",
    "off": "bright_black",
    "dim": "bright_black",
    "head": "bold",
    "key": "bold cyan",
    "alarm": "bold reverse red",
    "ask": "bold reverse yellow",
    "on": "bold reverse",
}
"""Tone to style. ANSI names, so that a terminal's own palette is honoured."""


def drawn(cells: Iterable[Cell]) -> Text:
    """Cells side by side, safe to draw."""
    text = Text(no_wrap=True, end="")
    for content, tone in cells:
        text.append(safe(content), TONES[tone])
    return text


def page(lines: Lines) -> Text:
    """Lines below each other."""
    return Text("\n").join([drawn(line) for line in lines])


def fit(text: str, width: int) -> str:
    """Exactly `width` cells: padded, or cut with an ellipsis."""
    if text.isascii():
        return text.ljust(width) if len(text) <= width else text[: max(0, width - 1)] + "…" * (width > 0)
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, max(0, width - 1)) + "…" * (width > 0)


def sized(line: Sequence[Cell], width: int) -> list[Cell]:
    """The cells of a line in exactly `width`: padded, or cut with an ellipsis."""
    cells: list[Cell] = []
    room = width
    for text, tone in line:
        clean = safe(text)
        length = cell_len(clean)
        if length > room:
            clean, length = fit(clean, room), room
        if clean:
            cells.append((clean, tone))
        room -= length
    return [*cells, (" " * room, "")] if room else cells


def beside(blocks: Sequence[Lines], widths: Sequence[int], *, gap: int = 0) -> Lines:
    """Blocks of lines side by side, each in its width, as high as the highest."""
    lines: Lines = []
    for row in range(max((len(block) for block in blocks), default=0)):
        cells: list[Cell] = []
        for place, (block, width) in enumerate(zip(blocks, widths, strict=True)):
            if place and gap:
                cells.append((" " * gap, ""))
            cells += sized(block[row] if row < len(block) else [], width)
        lines.append(cells)
    return lines


def wrapped(cells: Iterable[Cell], width: int) -> Lines:
    """The cells on as many lines as they need. A cell that begins with a blank belongs to the one before it, as a label
    to its key; a cell that is longer than a line is broken between its words."""
    pieces: list[tuple[list[Cell], int]] = []
    for text, tone in cells:
        length = cell_len(safe(text).rstrip())
        if pieces and text.startswith(" ") and pieces[-1][1] + length <= width:
            held, before = pieces.pop()
            pieces.append(([*held, (text, tone)], before + cell_len(safe(text))))
        elif length <= width:
            pieces.append(([(text, tone)], cell_len(safe(text))))
        else:
            pieces += [([(f"{word} ", tone)], cell_len(word) + 1) for word in safe(text).split()]
    lines: Lines = [[]]
    room = width
    for piece, length in pieces:
        blanks = length - cell_len("".join(safe(text) for text, _ in piece).rstrip())
        if length - blanks > room and lines[-1]:
            lines.append([])
            room = width
        lines[-1] += piece
        room -= length
    return lines


class Line(Widget):
    """One line: something on the left, something on the right; the left gives way. Given more lines than one by the
    style sheet, as on a portrait screen, it breaks what is on the left instead of cutting it."""

    DEFAULT_CSS = "Line { height: 1; width: 1fr; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._left: list[Cell] = []
        self._right: list[Cell] = []

    def show(self, left: Iterable[Cell], right: Iterable[Cell] = ()) -> None:
        """Draw these from now on; nothing happens when they are drawn already."""
        new = list(left), list(right)
        if new != (self._left, self._right):
            self._left, self._right = new
            self.refresh()

    def render(self) -> Text:
        width = self.size.width
        if self.size.height > 1:
            return page(wrapped([*self._left, *self._right], width)[: self.size.height])
        right = drawn(self._right)
        left = drawn(self._left)
        room = max(0, width - right.cell_len - (1 if self._right else 0))
        left.truncate(room, overflow="ellipsis", pad=True)
        if self._right:
            left.append(" ")
        left.append_text(right)
        left.truncate(width)
        return left
