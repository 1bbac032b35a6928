"""ASCII alone, for terminals and fonts that have nothing else: whatever was drawn, letter by letter, at the edge.

Here and not where it is drawn: names come from strangers, borders from the toolkit, and one place can be sure of all.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_FULLNESS: Final = " .:+#"
"""From an empty cell to a full one."""

_MARKS: Final = {
    "…": "~",
    "–": "-",
    "—": "-",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "·": ".",
    "•": "*",
    "×": "x",
    "✓": "+",
    "✔": "+",
    "✗": "x",
    "✘": "x",
    "●": "*",
    "○": "o",
    "░": ".",
    "▒": ":",
    "▓": "+",
    "▔": "^",
    "▕": "|",
}
_POINTING: Final = (("LEFT", "<"), ("RIGHT", ">"), ("UP", "^"), ("DOWN", "v"))
_BOX = range(0x2500, 0x2580)
_BLOCKS = range(0x2580, 0x25A0)
_BRAILLE = range(0x2800, 0x2900)


class _Plain(dict[int, str]):
    """Code point to ASCII of as many cells, found at its first use."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _ascii(chr(code))
        return found


_TABLE = _Plain()


def plain(text: str) -> str:
    """The text in ASCII, in as many cells: accents fall away, what has no likeness becomes `?`."""
    return text if text.isascii() else text.translate(_TABLE)


def _ascii(letter: str) -> str:
    if letter.isascii():
        return letter
    cells = cell_len(letter)
    return _likeness(letter)[:cells].ljust(cells, "?" if cells > 1 else " ") if cells else ""


def _likeness(letter: str) -> str:
    if letter in _MARKS:
        return _MARKS[letter]
    code, name = ord(letter), unicodedata.name(letter, "")
    if code in _BRAILLE:
        dots = (code - _BRAILLE.start).bit_count()
        return _FULLNESS[-(-dots // 2)]
    if code in _BOX:
        across = any(way in name for way in ("HORIZONTAL", "LEFT", "RIGHT"))
        upright = any(way in name for way in ("VERTICAL", "UP", "DOWN"))
        return "+" if across == upright else "-" if across else "|"
    if code in _BLOCKS:
        if "EIGHTH" in name or "QUARTER" in name:
            return "." if any(few in name for few in ("ONE", "TWO", "LOWER QUARTER")) else ":"
        return "#" if "FULL" in name or "HALF" in name else "+"
    if "ARROW" in name or "TRIANGLE" in name or "POINTER" in name:
        return next((sign for word, sign in _POINTING if word in name), "*")
    folded = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return folded or "?"


class PlainFilter(LineFilter):
    """The toolkit's hook for changing lines before they are written."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.text.isascii() else Segment(plain(segment.text), segment.style, segment.control)
            for segment in segments
        ]
