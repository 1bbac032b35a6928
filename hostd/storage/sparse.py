"""Files with holes, which take no room and read as zeros."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def create(path: Path, size: int) -> None:
    """A file of `size` bytes that is one hole. Raises OSError."""
    with path.open("wb") as file:
        file.truncate(size)


def copy(source: Path, target: Path) -> None:
    """The same bytes, holes left out; on file systems that can, the same blocks. Raises OSError."""
    with source.open("rb") as old, target.open("wb") as new:
        new.truncate(os.fstat(old.fileno()).st_size)
        for start, end in data(old.fileno()):
            at = start
            while at < end:
                at += os.copy_file_range(old.fileno(), new.fileno(), end - at, at, at)


def data(descriptor: int) -> Iterator[tuple[int, int]]:
    """The ranges of a file that are no holes: first byte, and the one after the last."""
    size = os.fstat(descriptor).st_size
    at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole follows
            return
        at = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, at
