"""A plot: one curve above its axis, or two, the second growing down from it.

Two curves that lie over each other need colours to be told apart; what comes in and what goes out, above and below one
line, are told apart on any terminal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from tui.charts.glyphs import GLYPHS, Glyphs
from tui.charts.samples import Sample, level, resample
from tui.view import Cell, Lines

LEAST = 8
"""Cells of curve below which an axis takes more than it tells."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """Samples at equal distances, the oldest first."""

    values: Sequence[Sample]
    tone: str = ""


def plot(
    curves: Sequence[Curve],
    width: int,
    height: int,
    glyphs: str = "braille",
    *,
    top: float = 100.0,
    show: Callable[[float], str] = "{:.0f}".format,
    since: str = "",
) -> Lines:
    """`height` lines of exactly `width` cells, the last of them the time axis when there is room for one.

    At most two curves. `top` is what fills the height of each half; `show` writes a value beside the axis; `since` is
    how long ago the first sample was, as written.
    """
    marks = GLYPHS[glyphs]
    label = max(len(show(top)), 1)
    framed = width >= label + 1 + LEAST and height >= 3
    rows = height - 1 if framed else height
    cells = width - label - 1 if framed else width
    if rows <= 0 or cells <= 0:
        return [[(" " * max(0, width), "")] for _ in range(max(0, height))]
    above = rows if len(curves) < 2 else (rows + 1) // 2
    bodies: list[Cell] = []
    for curve, lines, down in zip(curves, (above, rows - above), (False, True), strict=False):
        bodies += _body(curve, lines, cells, top, marks, down=down)
    bodies += [(" " * cells, "")] * (rows - len(bodies))
    if not framed:
        return [[body] for body in bodies]
    beside = {0: show(top), rows - 1: show(top) if len(curves) > 1 else show(0.0)}
    if len(curves) > 1 and rows > 2:
        beside[above - 1] = show(0.0)
    drawn: Lines = []
    for row, body in enumerate(bodies):
        drawn.append([(beside.get(row, "").rjust(label)[:label] + marks.wall, "dim"), body])
    return [*drawn, [(" " * label + _floor(cells + 1, since, marks), "dim")]]


def _body(curve: Curve, rows: int, cells: int, top: float, marks: Glyphs, *, down: bool) -> list[Cell]:
    """The lines of one curve, from above."""
    each = marks.down_rows if down else marks.up_rows
    levels = [level(value, top, rows * each) for value in resample(curve.values, cells * marks.columns)]
    lines: list[Cell] = []
    for row in range(rows):
        below = (row if down else rows - 1 - row) * each
        columns = [max(0, min(each, filled - below)) for filled in levels]
        groups = [tuple(columns[at : at + marks.columns]) for at in range(0, len(columns), marks.columns)]
        lines.append(("".join(marks.cell(group, down=down) for group in groups), curve.tone))
    return lines


def _floor(width: int, since: str, marks: Glyphs) -> str:
    """`└10m ago─────────────now`."""
    start, end = (f"{since} ago" if since else ""), "now"
    if width < 1 + len(start) + 3 + len(end):
        start = end = ""
    return marks.corner + start + marks.floor * (width - 1 - len(start) - len(end)) + end
