"""A console log as lines: what came in pieces, cleaned, each line with the time it was seen, the oldest let go."""

from __future__ import annotations

from typing import Protocol

from tui.text import safe_lines

MOST = 10_000
"""Lines kept."""

LONGEST = 4096
"""Characters of a line that are kept: a guest decides how long its lines are."""


class Part(Protocol):
    """core.consoles.client.LogPart."""

    @property
    def text(self) -> str: ...

    @property
    def whole(self) -> bool: ...

    @property
    def times(self) -> tuple[tuple[int, float], ...]: ...


class LogLines:
    """The end of one log."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.times: list[float | None] = []
        """Beside each line: seconds since the epoch, where that is known."""
        self._rest = ""
        """The raw beginning of the last line, which has not ended yet."""

    def feed(self, part: Part) -> int:
        """Take a part in. Answers how many lines at the beginning are gone: all of before for one that is whole."""
        gone = 0
        known = None
        if part.whole:
            gone = len(self.lines)
            self.lines.clear()
            self.times.clear()
            self._rest = ""
        elif self._rest:
            self.lines.pop()
            known = self.times.pop()
        raw = (self._rest + part.text).split("\n")
        continues = bool(self._rest)
        self._rest = raw[-1][-LONGEST:]
        if not raw[-1]:
            raw.pop()
        at = dict(part.times)
        seen: float | None = self.times[-1] if self.times and not part.whole else None
        for number, line in enumerate(raw):
            seen = at.get(number, seen)
            self.lines.append(safe_lines(line[:LONGEST]))
            self.times.append(known if not number and continues and known is not None else seen)
        over = max(0, len(self.lines) - MOST)
        if over:
            del self.lines[:over]
            del self.times[:over]
        return gone + over
