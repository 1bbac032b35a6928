"""What in a guest's console a person should hear of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

LONGEST_LINE: Final = 2048
"""Bytes of a line that are looked at: a guest decides how long its lines are."""

LONGEST_SHOWN: Final = 200
"""Characters of a line that are told."""

LOGIN: Final = "login"

PATTERNS: Final[dict[str, re.Pattern[bytes]]] = {
    "panic": re.compile(rb"Kernel panic - not syncing|^\s*panic: |\*\*\* STOP: 0x"),
    "oom": re.compile(rb"Out of memory: Kill(?:ed)? process|oom-kill:|Memory cgroup out of memory|invoked oom-killer"),
    "filesystem": re.compile(
        rb"EXT[234]-fs error|EXT[234]-fs[^\n]{0,80}Remounting filesystem read-only"
        rb"|XFS [^\n]{0,40}(?:Corruption|metadata I/O error|Filesystem has been shut down|Shutting down filesystem)"
        rb"|BTRFS (?:error|critical|warning)[^\n]{0,80}(?:forced readonly|corrupt|read-?only)"
        rb"|I/O error, dev |Buffer I/O error on dev"
    ),
}
"""By name: a line that tells of it."""

_ANY: Final = re.compile(b"|".join(b"(?:%s)" % pattern.pattern for pattern in PATTERNS.values()), re.MULTILINE)

_LOGIN: Final = re.compile(rb"(?:^|[\r\n ])(?!Last )[A-Za-z0-9_.-]{1,64} login: ?$")


def told(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(pattern, line) of each whole line that tells of something."""
    if _ANY.search(data) is None:
        return  # nearly always: one pass over all of it, in C
    for line in data.split(b"\n"):
        short = line[:LONGEST_LINE]
        for name, pattern in PATTERNS.items():
            if pattern.search(short):
                yield name, short
                break


def asks_login(last: bytes) -> bool:
    """Whether a guest that wrote this last, without a line's end, waits for a name."""
    return _LOGIN.search(last[-LONGEST_LINE:]) is not None


def shown(line: bytes) -> str:
    """A guest's line as it may be kept: printable, and short."""
    text = "".join(letter if letter.isprintable() else " " for letter in line.decode(errors="replace"))
    return " ".join(text.split())[:LONGEST_SHOWN]
