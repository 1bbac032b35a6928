"""Whether some QEMU writes a file: read from the locks that QEMU itself takes (block/file-posix.c).

A QEMU that may write an image holds a shared lock on one byte of it for as long. We take none, and ask only whether we
could have that byte to ourselves; so it is also known of guests of other hosts, where the file system carries locks.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Final

_WRITE: Final = 101
"""RAW_LOCK_PERM_BASE and the number of BLK_PERM_WRITE."""

_FLOCK: Final = struct.Struct("hhqqi4x")
"""struct flock: type, whence, start, length, pid."""


def written(path: Path) -> bool:
    """Whether somebody has it open to write. A file that is not there is not."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _WRITE, 1, 0)
        found = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))
    finally:
        os.close(descriptor)
    return bool(found[0] != fcntl.F_UNLCK)
