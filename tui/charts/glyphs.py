"""The three sets of marks: braille for most terminals, blocks where its font lacks braille, ASCII for all others.

Every set draws columns that grow from a baseline. A cell holds `columns` of them side by side, each of `rows` marks.
"""

from __future__ import annotations

import dataclasses
from typing import Final

_LEFT: Final = (0x40, 0x04, 0x02, 0x01)
_RIGHT: Final = (0x80, 0x20, 0x10, 0x08)
"""Braille's dots of a column, from below (Unicode 16, block 2800)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Glyphs:
    """One set of marks."""

    columns: int
    """Samples side by side in a cell."""
    spark: int
    """Marks of a column in a line that is one cell high."""
    up: tuple[str, ...]
    """A cell whose columns are filled from below: index is left, or left x (rows + 1) + right when there are two."""
    down: tuple[str, ...]
    """The same, filled from above."""
    up_rows: int
    down_rows: int
    sparks: tuple[str, ...]
    """As `up`, for sparklines."""
    full: str
    parts: tuple[str, ...]
    """A bar's last cell, from empty to nearly full."""
    ends: tuple[str, str]
    """Around a bar."""
    wall: str
    corner: str
    floor: str

    def cell(self, filled: tuple[int, ...], *, down: bool = False) -> str:
        """The mark for one or two columns, filled with so many marks each."""
        rows = self.down_rows if down else self.up_rows
        index = 0
        for count in filled:
            index = index * (rows + 1) + max(0, min(rows, count))
        return (self.down if down else self.up)[index]


def _dots(from_above: bool) -> tuple[str, ...]:
    left, right = (_LEFT[::-1], _RIGHT[::-1]) if from_above else (_LEFT, _RIGHT)
    cells = []
    for first in range(5):
        for second in range(5):
            dots = sum(left[:first]) + sum(right[:second])
            cells.append(chr(0x2800 + dots) if dots else " ")
    return tuple(cells)


_BLOCKS: Final = tuple(" ▁▂▃▄▅▆▇█")

GLYPHS: Final[dict[str, Glyphs]] = {
    "braille": Glyphs(
        columns=2,
        spark=4,
        up=_dots(from_above=False),
        down=_dots(from_above=True),
        up_rows=4,
        down_rows=4,
        sparks=_dots(from_above=False),
        full="⣿",
        parts=("⣀", "⣇"),
        ends=("", ""),
        wall="│",
        corner="└",
        floor="─",
    ),
    "block": Glyphs(
        columns=1,
        spark=8,
        up=_BLOCKS,
        down=tuple(" ▔▀█"),
        up_rows=8,
        down_rows=3,
        sparks=_BLOCKS,
        full="█",
        parts=("░", "▌"),
        ends=("", ""),
        wall="│",
        corner="└",
        floor="─",
    ),
    "ascii": Glyphs(
        columns=1,
        spark=7,
        up=tuple(" .:"),
        down=tuple(" ':"),
        up_rows=2,
        down_rows=2,
        sparks=tuple(" .:-=+*#"),
        full="#",
        parts=("-",),
        ends=("[", "]"),
        wall="|",
        corner="+",
        floor="-",
    ),
}
"""Name, as in the settings, to marks."""
