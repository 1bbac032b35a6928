"""Reading the end of a log, or what was written since, while it is being written and turned over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from hostd.logs.files import parts, times_of
from hostd.logs.times import Times
from hostd.spec import LogRead

LONGEST: Final = 512 * 1024
"""Bytes answered at most: control characters grow sixfold in JSON, and a frame holds 4 MiB."""


def read(log: Path, *, lines: int, after: str = "") -> LogRead:
    """The last `lines` lines within the last LONGEST bytes, or what came since the cursor `after`."""
    piece = _since(log, after) if after else None
    whole = piece is None
    pieces = _end(log, lines) if piece is None else [piece]
    text = b"".join(data for _, _, data in pieces)
    inode, start, data = pieces[-1] if pieces else (0, 0, b"")
    if whole and lines > 0:
        kept = b"".join(text.splitlines(keepends=True)[-lines:])
        pieces = _without(pieces, len(text) - len(kept))
        text = kept
    return LogRead(
        # A character cut in half at the front is replaced, not an error.
        text=text.decode(errors="replace") if lines > 0 else "",
        cursor=f"{inode}:{start + len(data)}" if inode else "",
        whole=whole,
        times=_times(Times(times_of(log)), pieces),
    )


_Piece = tuple[int, int, bytes]
"""(inode, where in the file it begins, bytes)."""


def _since(log: Path, after: str) -> _Piece | None:
    """None when the cursor's file is not the one that is written to, or too much came since."""
    inode, _, offset = after.partition(":")
    if not (inode.isdecimal() and offset.isdecimal()):
        return None
    start = int(offset)
    try:
        with log.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_ino != int(inode) or not start <= status.st_size <= start + LONGEST:
                return None
            file.seek(start)
            return status.st_ino, start, file.read(status.st_size - start)
    except FileNotFoundError:
        return None


def _end(log: Path, lines: int) -> list[_Piece]:
    pieces: list[_Piece] = []
    left, newlines = LONGEST, 0
    for path in reversed(parts(log)):
        try:
            with path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                size = file.seek(0, os.SEEK_END)
                start = max(0, size - left)
                file.seek(start)
                data = file.read(size - start)
        except FileNotFoundError:
            continue  # turned over as we came to it
        pieces.insert(0, (inode, start, data))
        left -= len(data)
        newlines += data.count(b"\n")
        if left <= 0 or newlines >= lines:
            break
    return pieces


def _without(pieces: list[_Piece], count: int) -> list[_Piece]:
    """The pieces without their first `count` bytes."""
    rest: list[_Piece] = []
    for inode, start, data in pieces:
        cut = min(count, len(data))
        count -= cut
        if cut < len(data):
            rest.append((inode, start + cut, data[cut:]))
    return rest


def _times(times: Times, pieces: list[_Piece]) -> tuple[tuple[int, float], ...]:
    """(line, when it began to be seen), where that is another time than of the line before."""
    found: list[tuple[int, float]] = []
    line = 0
    fresh = True
    for inode, start, data in pieces:
        at = 0
        while at < len(data):
            end = data.find(b"\n", at)
            if fresh:
                seen = times.at(inode, start + at)
                if seen is not None and (not found or found[-1][1] != seen):
                    found.append((line, seen))
            fresh = end >= 0
            if end < 0:
                break
            line += 1
            at = end + 1
    return tuple(found)
