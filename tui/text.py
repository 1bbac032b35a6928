"""From data to text a person reads: the one `safe()` that all text passes on its way to a terminal, and the words for
sizes, ages and moments that the command line and the app share.

Names, metadata and console logs are a stranger's. Textual and rich pass escape sequences through to the terminal, and
bidirectional or zero-width characters make one name look like another.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from typing import Final

UNSEEN: Final = re.compile(
    # Letters and marks, by their category, that nevertheless draw nothing: joiners, fillers, variation selectors; and
    # skin tones, which some terminals draw and others lay over the sign before.
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0100-\U000e01ef]"
)
_FLAGS: Final = {0x1F1E6 + at: chr(ord("A") + at) for at in range(26)}
"""Letters of which two are a flag: one sign or two, as the terminal pleases. Shown as the letters they stand for."""

MOST_MARKS: Final = 3
"""On one letter: more than any script needs."""

_BLANKS: Final = frozenset("\t\n\v\f\r\u0085\u2028\u2029")
"""Controls that part words: a blank takes their place, so that words do not run together."""

_SEQUENCE: Final = re.compile(
    # What a terminal takes as a command: CSI, the strings that end in BEL or ST, and the short escapes (ECMA-48).
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[PX^_\]]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]"
)

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP: Final = 1024
_AGES: Final = ((86400 * 365, "y"), (86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def safe(text: object) -> str:
    """One line of anything, with nothing a terminal would obey or hide.

    C0, C1, bidirectional, zero-width, private and unassigned characters are left out, and marks beyond MOST_MARKS on a
    letter; tabs and line breaks become blanks.
    """
    plain = text if isinstance(text, str) else str(text)
    if plain.isprintable() and plain.isascii():
        return plain
    shown = UNSEEN.sub("", "".join(_shown(letter) for letter in plain)).translate(_FLAGS)
    return shown if shown.isascii() else _unstacked(shown)


def safe_lines(text: str) -> str:
    """Many lines, e.g. a console log: whole escape sequences are left out, line ends stay, the rest is `safe`."""
    plain = _SEQUENCE.sub("", text).replace("\r\n", "\n")
    return "\n".join(safe(line.replace("\r", "").expandtabs(8)) for line in plain.split("\n"))


def _shown(letter: str) -> str:
    if letter.isprintable():
        return letter
    return " " if letter in _BLANKS or unicodedata.category(letter) == "Zs" else ""


def _unstacked(text: str) -> str:
    """Marks stand on a letter, and few of them: stacked they cover the lines above, and the first of a text would sit
    on what stands before it."""
    kept: list[str] = []
    marks = MOST_MARKS
    for letter in text:
        marks = marks + 1 if unicodedata.category(letter) in ("Mn", "Me") else 0
        if marks <= MOST_MARKS:
            kept.append(letter)
    return "".join(kept)


def size(count: int | None) -> str:
    """Bytes for a person: `512 B`, `1.5 GiB`; empty for None."""
    if count is None:
        return ""
    value = float(count)
    for unit in _UNITS[:-1]:
        if abs(value) < _STEP:
            return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"
        value /= _STEP
    return f"{value:.1f} {_UNITS[-1]}"


def mib(count: int | None) -> str:
    """MiB for a person: `512 MiB`, `2 GiB`."""
    return "" if count is None else size(count * _STEP * _STEP)


def gib(count: int | None) -> str:
    """GiB for a person."""
    return mib(None if count is None else count * _STEP)


def moment(at: int | None) -> str | None:
    """Microseconds since the epoch as OpenStack writes them: `2025-01-31T12:00:00Z`, UTC; None for None."""
    if at is None:
        return None
    return datetime.datetime.fromtimestamp(at // 1_000_000, tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age(at: int | None, now: int) -> str:
    """How long ago, in its largest unit: `5m`, `3d`; both in microseconds since the epoch. Empty for None."""
    return "" if at is None else duration(now - at)


def duration(length: int) -> str:
    """Microseconds in their largest unit: `5m`, `3d`; `0s` for less than a second."""
    seconds = max(0, length) // 1_000_000
    for each, letter in _AGES:
        if seconds >= each:
            return f"{seconds // each}{letter}"
    return "0s"
