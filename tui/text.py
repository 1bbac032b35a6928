"""The one edge between data and the terminal: what tenants wrote is made harmless here, and numbers readable.

Terminals obey control characters and toolkits pass them on, so every string that came from a person, a guest or a
host goes through `safe` before it is printed or drawn.
"""

from __future__ import annotations

import re

_HARMFUL = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: escape sequences begin here
    "\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # zero-width, bidi, separators
    "\U000e0000-\U000e007f"  # tags: invisible text
    "\ud800-\udfff"  # half a character: encoding it would raise
    "]"
)


def safe(text: str) -> str:
    """`text` as one line that can only be read: control, bidi and zero-width characters are taken out.

    Line breaks and tabs become blanks, so that words do not run together.
    """
    if text.isascii() and text.isprintable():
        return text
    return _HARMFUL.sub("", text.replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def safe_lines(text: str) -> list[str]:
    """Several lines, each safe; tabs are expanded, so that columns stay columns."""
    return [safe(line.expandtabs(8)) for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


def age(microseconds: int) -> str:
    """A span of time in at most four characters: 8s, 42m, 3h, 12d, 2y."""
    seconds = max(0, microseconds // 1_000_000)
    for unit, length in (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length * (2 if unit == "y" else 1):
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def size(count: int | None) -> str:
    """Bytes, in powers of 1024 and at most five characters: 512, 1.5K, 20G."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("", "K", "M", "G", "T"):
        if value < 1024 or unit == "T":
            return f"{value:.1f}".removesuffix(".0") + unit if value < 10 and unit else f"{value:.0f}{unit}"
        value /= 1024
    raise AssertionError("unreachable")
