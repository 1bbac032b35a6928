"""Which columns a list of a given width shows, and how wide each is. Pure, so that every width can be tried."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from tui.view import Column

READABLE = 12
"""Cells by which every growing column may grow before a wide one joins."""

GUTTER = 2
"""Cells before the name: cursor and mark."""


@dataclasses.dataclass(frozen=True)
class Layout:
    columns: tuple[tuple[Column, int], ...]
    """(column, cells), the frozen one first."""
    hidden_left: int
    hidden_right: int
    """Columns scrolled out, or without room."""


def arrange(columns: Sequence[Column], width: int, *, wide: bool, first: int) -> Layout:
    """The layout for `width` cells.

    Wide columns join one by one while there is room, or all at once with `wide`; then what does not fit is reached by
    scrolling: `first` columns after the frozen one are scrolled out on the left.
    """
    frozen, rest = columns[0], list(columns[1:])
    room = width - GUTTER - frozen.width
    if not wide:
        used = sum(column.width + 1 for column in rest if not column.wide)
        # What is shown anyway may first grow to a readable width.
        used += sum(min(column.grow, READABLE) for column in [frozen, *rest] if not column.wide)
        for column in [column for column in rest if column.wide]:
            if used + column.width + 1 <= room:
                used += column.width + 1
            else:
                rest.remove(column)
    first = min(first, max(0, len(rest) - 1))
    shown: list[Column] = []
    for column in rest[first:]:
        if room < column.width + 1:
            break
        room -= column.width + 1
        shown.append(column)
    return Layout(
        columns=tuple(_grown([frozen, *shown], max(0, room))),
        hidden_left=first,
        hidden_right=len(rest) - first - len(shown),
    )


def _grown(columns: Sequence[Column], spare: int) -> Iterator[tuple[Column, int]]:
    """Spare cells go round, one to each column that may still grow, so that none starves another."""
    extra = [0] * len(columns)
    while spare and (growing := [at for at, column in enumerate(columns) if extra[at] < column.grow]):
        for at in growing[:spare]:
            extra[at] += 1
        spare -= len(growing[:spare])
    for column, more in zip(columns, extra, strict=True):
        yield column, column.width + more
