"""What was typed before, kept from one session to the next: a small file a line each, the newest last."""

from __future__ import annotations

import os
from pathlib import Path

KEPT = 500
"""Lines."""


class History:
    """Lines typed in one place, such as the command line. Read when it is first asked for."""

    def __init__(self, path: Path | None, *, kept: int = KEPT) -> None:
        """Without a path nothing outlives the session."""
        self._path = path
        self._kept = kept
        self._lines: list[str] | None = None

    @property
    def lines(self) -> list[str]:
        """The oldest first, none twice."""
        if self._lines is None:
            self._lines = self._read()
        return self._lines

    def _read(self) -> list[str]:
        if self._path is None:
            return []
        try:
            text = self._path.read_text(errors="replace")
        except OSError:
            return []  # a history that cannot be read is no history
        lines = [line for line in text.splitlines() if line.strip() and line.isprintable()]
        return list(dict.fromkeys(reversed(lines)))[: self._kept][::-1]

    def add(self, line: str) -> None:
        """The newest; what was there already moves up. A place that cannot be written to keeps nothing, silently."""
        line = " ".join(line.split())
        if not line or not line.isprintable():
            return
        self._lines = [*(old for old in self.lines if old != line), line][-self._kept :]
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Another session may have added its own: they are kept, ours are the newest.
            theirs = [old for old in self._read() if old not in self._lines]
            fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            fresh.touch(mode=0o600)
            fresh.write_text("".join(f"{one}\n" for one in [*theirs, *self._lines][-self._kept :]))
            fresh.replace(self._path)
        except OSError:
            return

    def older(self, start: str, before: str | None) -> str | None:
        """The line that begins with `start`, before the one named; the newest without one. None when there is none."""
        found = [line for line in self.lines if line.startswith(start)]
        if before is not None and before in found:
            found = found[: found.index(before)]
        return found[-1] if found else None

    def newer(self, start: str, after: str) -> str | None:
        """The one after; None past the newest."""
        found = [line for line in self.lines if line.startswith(start)]
        later = found[found.index(after) + 1 :] if after in found else []
        return later[0] if later else None
