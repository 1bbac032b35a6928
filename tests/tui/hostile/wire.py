"""What a terminal is sent, taken apart: text, and every sequence that is not text."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections import Counter

from wcwidth import wcwidth

_CSI = re.compile(r"\x1b\[([<-?]?)([0-9;:]*)([ -/]*)([@-~])")
_STRING = re.compile(r"\x1b([\]PX^_])([^\x07\x1b]*)(?:\x07|\x1b\\)")
_SHORT = re.compile(r"\x1b[ -/]*[0-Z\\^-~]")

POINTERS = frozenset({"22;default", "22;pointer", "22;text", "22;"})
"""OSC that Textual itself sends: the mouse pointer's shape."""

SGR, MOVE = "m", "H"

MODES = frozenset(
    {"9", "7", "25", "1000", "1003", "1004", "1006", "1015", "1016", "1049", "2004", "2026", "2031", "2048"}
)
"""Private modes that Textual switches or asks for: cursor, wrapping, mouse, focus, the other screen, paste, frames."""


@dataclasses.dataclass
class Sent:
    """Everything that was sent."""

    text: str
    """What is left when the sequences are taken out."""
    sequences: Counter[str]
    """What they are, by kind: `CSI m`, `CSI ?h 1049`, `OSC 22`."""
    strings: list[str]
    """The payloads of OSC, DCS, APC, PM and SOS."""


def taken_apart(data: bytes) -> Sent:
    """Raises UnicodeDecodeError for bytes that are not UTF-8: a terminal takes them for C1 controls."""
    left = data.decode()
    text: list[str] = []
    sequences: Counter[str] = Counter()
    strings: list[str] = []
    at = 0
    while at < len(left):
        if left[at] != "\x1b":
            end = left.find("\x1b", at)
            end = len(left) if end < 0 else end
            text.append(left[at:end])
            at = end
            continue
        if found := _CSI.match(left, at):
            mark, numbers, middle, final = found.groups()
            private = f"{mark}{middle}{final}"
            sequences[f"CSI {private} {numbers}" if mark or middle else f"CSI {private}"] += 1
        elif found := _STRING.match(left, at):
            strings.append(found[2])
            sequences[f"string {found[1]}"] += 1
        elif found := _SHORT.match(left, at):
            sequences[f"ESC {found[0][1:]}"] += 1
        else:
            raise AssertionError(f"an escape that belongs to nothing: {left[at : at + 40]!r}")
        at = found.end()
    return Sent(text="".join(text), sequences=sequences, strings=strings)


def complaints(data: bytes, *, copied: tuple[str, ...] = (), lines: str = "\n\r") -> list[str]:
    """What of it no part of the app would send. `copied` are the payloads of OSC 52 that a person asked for; `lines`
    the controls that may stand between lines."""
    sent = taken_apart(data)
    found = [f"string {text!r}" for text in sent.strings if text not in POINTERS and text not in copied]
    for sequence in sent.sequences:
        kind, _, rest = sequence.partition(" ")
        name, _, numbers = rest.partition(" ")
        if kind == "string" or rest in (SGR, MOVE):
            continue
        if name in ("?h", "?l", "?$p") and set(numbers.split(";")) <= MODES:
            continue
        if name in (">u", "<u", "=u", "?u"):
            continue  # how keys are told, asked for by Textual at its start and given back at its end
        found.append(f"sequence {sequence!r}")
    found += [f"character {char!r}" for char in sorted(set(sent.text)) if char not in lines and not seen(char)]
    return found


def seen(char: str) -> bool:
    """Whether the character stands for itself: it draws something, or is a blank or an accent; it orders nothing."""
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and wcwidth(char) >= 0
