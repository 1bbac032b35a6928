"""Reads the end of a console log that virtlogd writes and rotates while we look."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

LONGEST: Final = 512 * 1024
"""Bytes answered at most: control characters grow sixfold in JSON, and a frame holds 4 MiB."""


def tail(log: Path, *, lines: int | None = None, longest: int = LONGEST) -> str:
    """The last `lines` lines (None: all) within the last `longest` bytes; empty when nothing was written yet.

    The newest rotated part (`<log>.0`) is read too when the current one is short.
    """
    end = _end(log, longest)
    if len(end) < longest and (lines is None or end.count(b"\n") < lines):
        end = _end(log.with_name(log.name + ".0"), longest - len(end)) + end
    # A character cut in half at the front is replaced, not an error.
    text = end.decode(errors="replace")
    if lines is None:
        return text
    return "".join(text.splitlines(keepends=True)[-lines:]) if lines > 0 else ""


def _end(path: Path, longest: int) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - longest))
            return file.read(longest)
    except FileNotFoundError:
        return b""
