"""When which byte of a log was seen: a serial console knows no time, so the follower writes down how far the log had
grown at each of its looks.

A record says that by `at` the file with this inode was `offset` bytes long. A file that is turned over keeps its inode,
and so its records.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

MOST: Final = 8192
"""Records of a log before the older half is let go: 192 KiB."""

_RECORD: Final = struct.Struct("<QQd")

UNKNOWN: Final = 0.0
"""In place of a time: these bytes were there before anybody looked."""


@attrs.frozen
class Mark:
    inode: int
    offset: int
    at: float


def append(path: Path, mark: Mark) -> None:
    """Write one down. Raises OSError."""
    with path.open("ab") as file:
        file.write(_RECORD.pack(mark.inode, mark.offset, mark.at))
        size = file.tell()
    if size > MOST * _RECORD.size:
        newer = path.with_name(path.name + ".new")
        newer.write_bytes(path.read_bytes()[-(MOST // 2) * _RECORD.size :])
        newer.replace(path)


def marks(path: Path) -> Iterator[Mark]:
    """All that are kept, oldest first; what a crash cut off is passed over."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for record in _RECORD.iter_unpack(data[: len(data) - len(data) % _RECORD.size]):
        yield Mark(*record)


class Times:
    """The records of one log, to be asked."""

    def __init__(self, path: Path) -> None:
        self._offsets: dict[int, list[int]] = {}
        self._at: dict[int, list[float]] = {}
        for mark in marks(path):
            self._offsets.setdefault(mark.inode, []).append(mark.offset)
            self._at.setdefault(mark.inode, []).append(mark.at)

    def at(self, inode: int, offset: int) -> float | None:
        """When the byte at `offset` was first seen; None when nobody knows."""
        offsets = self._offsets.get(inode, [])
        place = bisect.bisect_right(offsets, offset)
        if place == len(offsets):
            return None
        return self._at[inode][place] or None
