"""Charts of one line: what was, and how full something is."""

from __future__ import annotations

from collections.abc import Sequence

from tui.charts.glyphs import GLYPHS
from tui.charts.samples import Sample, level, newest, there


def sparkline(values: Sequence[Sample], width: int, top: float | None = 100.0, glyphs: str = "braille") -> str:
    """The newest samples in `width` cells, the newest at the right. `top` fills a cell; None: the highest of them."""
    marks = GLYPHS[glyphs]
    shown = newest(values, width * marks.columns)
    if top is None:
        top = max((value for value in shown if value is not None and there(value)), default=0.0)
    levels = [level(value, top, marks.spark) for value in shown]
    if marks.columns == 1:
        return "".join(marks.sparks[each] for each in levels)
    pairs = zip(levels[::2], levels[1::2], strict=True)
    return "".join(marks.sparks[left * (marks.spark + 1) + right] for left, right in pairs)


def bar(part: float, whole: float, width: int, glyphs: str = "braille") -> str:
    """`part` of `whole`, in `width` cells. More than the whole is full; of nothing, or of no limit (whole < 0), nothing
    is full; anything above nothing shows."""
    marks = GLYPHS[glyphs]
    ends = marks.ends if width > len("".join(marks.ends)) else ("", "")
    room = max(0, width - len("".join(ends)))
    steps = len(marks.parts)
    share = min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0
    filled = round(share * room * steps)
    if share > 0 and room:
        filled = max(1, filled)
    whole_cells, rest = divmod(filled, steps)
    inner = marks.full * whole_cells
    if rest:
        inner += marks.parts[rest]
    return ends[0] + inner.ljust(room, marks.parts[0]) + ends[1]
