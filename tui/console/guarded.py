"""What a guest writes, on its way to this terminal: it may draw, and no more.

A raw console is for drawing: cursor, colours and modes pass. What a terminal does beyond drawing is kept from a guest:
the clipboard, the title, notifications and palettes (strings: OSC, DCS, APC, PM, SOS), window manipulation (CSI … t),
and questions that the terminal would answer by typing (device status, attributes, modes).
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 64
"""Bytes of a control sequence that is held back until it is whole; what is longer is no sequence."""

_STRING: Final = re.compile(rb"\x1b[\]PX^_]|\xc2[\x90\x98\x9d-\x9f]")
_STRING_END: Final = re.compile(rb"\x07|\x1b\\|\xc2\x9c|[\x18\x1a]")
_CSI: Final = re.compile(rb"(?:\x1b\[|\xc2\x9b)([0-?]*)([ -/]*)([@-~])")
_UNFINISHED: Final = re.compile(rb"(?:\x1b|\xc2|(?:\x1b\[|\xc2\x9b)[0-?]*[ -/]*)\Z")
_ASKING: Final = frozenset({b"t", b"c", b"n", b"x", b"y"})
"""Final bytes of control sequences that do more than draw: window operations, attributes, status, tests."""

RESET: Final = (
    # Soft reset, then what it leaves: mouse and paste modes, the alternate screen, keypad, wrapping, cursor, colours.
    "\x1b[!p\x1b[?9;1000;1001;1002;1003;1004;1005;1006;1015;2004l\x1b[?47;1047;1049l\x1b[?1l\x1b>\x1b[?7h\x1b[?25h"
    "\x1b[0m\x1b(B\x0f"
)
"""Gives the terminal back as it was, whatever a guest has done to it."""


class Guarded:
    """A filter with memory: a sequence may come in any pieces."""

    def __init__(self) -> None:
        self._held = b""
        self._in_string = False

    def pass_on(self, data: bytes) -> bytes:
        """What of it, and of what was held back before, may go to the terminal."""
        data = self._held + data
        self._held = b""
        out: list[bytes] = []
        at = 0
        while at < len(data):
            if self._in_string:
                end = _STRING_END.search(data, at)
                if end is None:
                    # The end itself may be cut in half.
                    self._held = data[-1:] if data[-1:] in (b"\x1b", b"\xc2") else b""
                    break
                self._in_string = False
                at = end.end()
                continue
            start = _next(data, at)
            out.append(data[at:start])
            if start == len(data):
                break
            if string := _STRING.match(data, start):
                self._in_string = True
                at = string.end()
            elif (sequence := _CSI.match(data, start)) is not None:
                if not _asks(sequence):
                    out.append(sequence[0])
                at = sequence.end()
            elif _UNFINISHED.match(data, start) and len(data) - start <= LONGEST:
                self._held = data[start:]
                break
            elif data[start : start + 2] == b"\x1bZ":
                at = start + 2  # "identify yourself"
            else:
                out.append(data[start : start + 1])
                at = start + 1
        return b"".join(letter.replace(b"\x05", b"") for letter in out)  # "who are you"


def _asks(sequence: re.Match[bytes]) -> bool:
    """Whether a control sequence does more than draw."""
    parameters, between, final = sequence.groups()
    # Modes (CSI … $ p), the terminal's version (CSI > q), its keyboard protocol (CSI ? u).
    asked = (final == b"p" and b"$" in between) or (final == b"q" and parameters[:1] == b">")
    return asked or final in _ASKING or (final == b"u" and parameters[:1] in (b"?", b">", b"<", b"="))


def _next(data: bytes, at: int) -> int:
    """Where the next byte is that may begin a sequence; the end when none is."""
    found = [place for mark in (b"\x1b", b"\xc2") if (place := data.find(mark, at)) >= 0]
    return min(found, default=len(data))
