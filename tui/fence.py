"""The last fence before the terminal: what a frame's cells say is letters, whoever wrote it and whatever drew it.

Every text of ours passes `tui.text.safe`. Widgets that draw what is typed or pasted into them (fields, editors) draw it
as it is, and one forgotten call would be enough: so each frame is looked at once more on its way out, where only cells
and their styles are left. What a terminal would obey or hide is left out; what is nothing becomes a replacement mark.
"""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

from tui.text import UNSEEN, safe

NOTHING = "\ufffd"
"""Stands for a character that takes a cell but is none."""


def fenced(update: CompositorUpdate) -> CompositorUpdate:
    """The frame, with nothing but letters in its cells. Raises TypeError for a kind of frame that is unknown."""
    if isinstance(update, LayoutUpdate):
        return LayoutUpdate([[clean(strip) for strip in line] for line in update.strips], update.region)
    if isinstance(update, ChopsUpdate):
        lines = {y for y, _, _ in update.spans}
        chops = [
            {x: strip and clean(strip) for x, strip in line.items()} if y in lines else line
            for y, line in enumerate(update.chops)
        ]
        return ChopsUpdate(chops, update.spans, update.chop_ends)
    raise TypeError(f"a frame of another kind: {type(update).__name__}")


def clean(strip: Strip) -> Strip:
    """The strip itself when nothing is wrong with it, as nearly always; else another, of as many cells."""
    for segment in strip:
        text, style, _ = segment
        if not _plain(text):
            break
        if style is not None and style.link:
            break
    else:
        return strip
    segments = [
        Segment(_letters(text), style.update_link(None) if style is not None and style.link else style)
        for text, style, _ in strip
    ]
    return Strip(segments).adjust_cell_length(strip.cell_length)


def _plain(text: str) -> bool:
    return text.isprintable() and (text.isascii() or not UNSEEN.search(text))


def _letters(text: str) -> str:
    if _plain(text):
        return text
    return "".join(letter if safe(letter) == letter else NOTHING * cell_len(letter) for letter in text)
