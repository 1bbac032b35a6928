"""Boxes of a page: framed and side by side where the terminal is wide, one after the other where it is not. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tui.view import Box, Cell, Lines
from tui.widgets.lines import beside, fit, sized

WIDE = 100
"""Cells from which on boxes stand in two framed columns."""

PAIR = 66
"""Cells from which on what is small stands beside its neighbour, without a frame."""

GAP = 2


def laid_out(boxes: Sequence[Box], width: int, height: int, glyphs: str) -> Lines:
    """All boxes in lines of exactly `width` cells; the last fill up to `height`, and there may be more lines."""
    rows = paired(boxes)
    return _framed(rows, width, height, glyphs == "ascii") if width >= WIDE else _stacked(rows, width)


def paired(boxes: Sequence[Box]) -> list[list[Box]]:
    """Rows of one or two: a box goes beside the one before it when that is on the left and it is not."""
    rows: list[list[Box]] = []
    for box in boxes:
        if rows and box.right and len(rows[-1]) == 1 and not rows[-1][0].right:
            rows[-1].append(box)
        else:
            rows.append([box])
    return rows


# ---------------------------------------------------------------------------- wide


def _framed(rows: Sequence[Sequence[Box]], width: int, height: int, plain: bool) -> Lines:
    dash, wall = ("-", "|") if plain else ("─", "│")
    left = (width - 3) // 2
    right = width - 3 - left
    lines: Lines = []
    drawn = []
    for row in rows:
        widths = [left, right] if len(row) == 2 else [width - 2]
        drawn.append((row, widths, [box.lines(inner - 2) for box, inner in zip(row, widths, strict=True)]))
    tall = [max(1, *(len(block) for block in blocks)) for _, _, blocks in drawn]
    spare = height - sum(tall) - len(tall) - 1
    if spare > 0:
        tall[-1] += spare  # the last row takes what is left
    before: list[int] = []
    for (row, widths, blocks), inner in zip(drawn, tall, strict=True):
        lines.append(_rule([box.title for box in row], widths, before, dash, plain))
        blocks = [_kept(box, block, inner) for box, block in zip(row, blocks, strict=True)]
        for at in range(inner):
            cells: list[Cell] = [(wall, "dim")]
            for block, room in zip(blocks, widths, strict=True):
                cells += [(" ", ""), *sized(block[at] if at < len(block) else [], room - 2), (" ", ""), (wall, "dim")]
            lines.append(cells)
        before = widths
    lines.append(_rule([], [], before, dash, plain))
    return lines


def _kept(box: Box, block: Lines, room: int) -> Lines:
    """Of what only ends matters, such as a log, the last lines."""
    return block[-room:] if box.tail else block


def _rule(titles: Sequence[str], widths: Sequence[int], before: Sequence[int], dash: str, plain: bool) -> list[Cell]:
    """A horizontal line with the titles of what is below it, that meets the walls above and below."""
    total = sum(before or widths) + len(before or widths) + 1
    above, below = _walls(before), _walls(widths)
    line = []
    for at in range(total):
        if plain:
            line.append("+" if at in above | below else dash)
        else:
            line.append(_JOINTS[at in above, at in below, at == 0, at == total - 1] if at in above | below else dash)
    cells: list[Cell] = []
    start = 0
    for title, wall in zip(titles, sorted(below), strict=False):
        room = widths[len(cells) // 2] - 3
        shown = fit(title, min(room, len(title)))
        cells += [("".join(line[start : wall + 2]), "dim"), (f" {shown} ", "head")]
        start = wall + 4 + len(shown)
    return [*cells, ("".join(line[start:]), "dim")]


def _walls(widths: Sequence[int]) -> set[int]:
    """Where the walls of a row stand."""
    places, at = set(), 0
    for width in widths:
        places.add(at)
        at += width + 1
    return places | {at} if widths else places


_JOINTS = {
    # (a wall above, a wall below, at the left end, at the right end) to what joins them
    (False, True, True, False): "┌",
    (False, True, False, False): "┬",
    (False, True, False, True): "┐",
    (True, True, True, False): "├",
    (True, True, False, False): "┼",
    (True, True, False, True): "┤",
    (True, False, True, False): "└",
    (True, False, False, False): "┴",
    (True, False, False, True): "┘",
}


# ---------------------------------------------------------------------------- narrow


def _stacked(rows: Sequence[Sequence[Box]], width: int) -> Lines:
    lines: Lines = []
    for row in rows:
        if len(row) == 2 and row[0].small and width >= PAIR:
            left = (width - GAP) // 2
            widths = [left, width - GAP - left]
            parts = [beside([box.lines(room) for box, room in zip(row, widths, strict=True)], widths, gap=GAP)]
        else:
            parts = [_titled(box, width) for box in row]
        for part in parts:
            if part:
                lines += [*([[("", "")]] if lines else []), *part]
    return lines


def _titled(box: Box, width: int) -> Lines:
    """Without a frame a title has a line of its own, unless the lines say by themselves what they are."""
    found = box.lines(width)
    if not found or box.headed:
        return found
    return [[(box.title, "head")], *(found[-box.brief :] if box.tail and box.brief else found[: box.brief or None])]
