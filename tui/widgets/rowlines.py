"""The lines of a list, drawn. Pure functions of what they show, so that the list may keep what it has drawn."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.text import safe
from tui.view import Cell
from tui.widgets.columns import GUTTER, Layout
from tui.widgets.lines import TONES, fit


def heading(layout: Layout, sort: str, *, width: int, style: Style) -> Strip:
    """The columns' titles; the one that is sorted by (`name`, `-name`) has an arrow."""
    sorted_by, descending = sort.removeprefix("-"), sort.startswith("-")
    parts = [" " * GUTTER]
    for column, cells in layout.columns:
        title = column.title
        if column.key and column.key == sorted_by:
            title += "v" if descending else "^"
        parts.append((title.rjust(cells) if column.right else title.ljust(cells))[:cells] + " ")
    text = "".join(parts)[:width].ljust(width)
    return Strip([Segment(text, style)], width)


def notice(cells: Sequence[Cell], *, width: int, style: Style) -> Strip:
    """A line of what an empty list says."""
    segments, used = [Segment("  ", style)], 2
    for text, tone in cells:
        shown = safe(text)[: max(0, width - used)]
        segments.append(Segment(shown, style + Style.parse(TONES[tone])))
        used += len(shown)
    return Strip(segments).adjust_cell_length(width, style)


def awaited(at_cursor: bool, *, width: int, style: Style) -> Strip:
    """A row that was not read yet."""
    return Strip([Segment((("> " if at_cursor else "  ") + "…").ljust(width), style)], width)


def row(
    layout: Layout, cells: Sequence[Cell], *, at_cursor: bool, marked: bool, width: int, base: Style, name: Style
) -> Strip:
    """A row's cells, as wide as the layout has them. `base` is the line's style, `name` that of its first column."""
    segments = [Segment((">" if at_cursor else " ") + ("*" if marked else " "), name)]
    used = GUTTER
    for place, ((column, room), (text, tone)) in enumerate(zip(layout.columns, cells, strict=True)):
        clean = safe(text)
        if column.right and len(clean) < room:
            clean = clean.rjust(room)
        style = name if place == 0 else base
        if tone:
            # The cursor's line keeps its background; "dim" on it could not be read.
            style = style + Style.parse(TONES[tone]) if not (at_cursor and tone in ("dim", "off")) else style
        segments.append(Segment(fit(clean, room), style))
        segments.append(Segment(" ", base))
        used += room + 1
    strip = Strip(list(Segment.simplify(segments)), used)  # fewer colour changes are fewer bytes
    return strip.adjust_cell_length(width, base) if used != width else strip
