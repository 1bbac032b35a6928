"""Looking for a text in the logs of many guests, within a time and a number of answers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hostd.logs.files import parts, times_of
from hostd.logs.times import Times
from hostd.spec import LONGEST_FOUND, MOST_FOUND, ErrorCode, HostError, LogLine, LogsFound, SearchLogs

LONGEST_TEXT: Final = 200
"""Characters of what is looked for."""

_LOOK_UP: Final = 256
"""Hits between two looks at the clock."""


def search(asked: SearchLogs, logs: Callable[[str], Path | None]) -> LogsFound:
    """`logs` tells where a guest's log is; None: there is none. Raises HostError(PROTOCOL) for a text that cannot be
    looked for."""
    needle = asked.text.encode().lower()
    if not needle.strip() or b"\n" in needle or len(asked.text) > LONGEST_TEXT:
        raise HostError(ErrorCode.PROTOCOL, f"a search is for 1 to {LONGEST_TEXT} characters of one line")
    end = time.monotonic() + max(0.0, asked.seconds)
    most = max(1, min(asked.most, MOST_FOUND))
    found: list[LogLine] = []
    searched, more = 0, False
    for uuid in asked.uuids:
        if time.monotonic() > end or len(found) >= most:
            return LogsFound(
                lines=tuple(found[:most]), searched=searched, more=more or len(found) >= most,
                unfinished=time.monotonic() > end,
            )  # fmt: skip
        log = logs(uuid)
        if log is None:
            continue
        lines, seen = _one(uuid, log, needle, each=max(1, asked.each), end=end)
        searched += 1
        more = more or seen > len(lines)
        found += lines
    return LogsFound(
        lines=tuple(found[:most]), searched=searched, more=more or len(found) > most, unfinished=time.monotonic() > end
    )


def _one(uuid: str, log: Path, needle: bytes, *, each: int, end: float) -> tuple[list[LogLine], int]:
    """The newest lines of a guest that hold the text, and how many there were."""
    kept: deque[tuple[int, int, int, bytes]] = deque(maxlen=each)
    number, seen = 0, 0
    for path in parts(log):
        try:
            with path.open("rb") as file:
                inode = path.stat().st_ino
                data = file.read()
        except FileNotFoundError:
            continue  # turned over as we came to it
        lower = data.lower()
        at, counted = lower.find(needle), 0
        while at >= 0:
            begin = data.rfind(b"\n", 0, at) + 1
            stop = data.find(b"\n", at)
            stop = len(data) if stop < 0 else stop
            number += data.count(b"\n", counted, begin)
            counted = begin
            kept.append((number + 1, inode, begin, _around(data[begin:stop], at - begin)))
            seen += 1
            if seen % _LOOK_UP == 0 and time.monotonic() > end:
                break
            at = lower.find(needle, stop)
        number += data.count(b"\n", counted)
    times = Times(times_of(log)) if kept else None
    lines = [
        LogLine(
            uuid=uuid,
            number=number,
            at=times.at(inode, begin) if times else None,
            text=line.decode(errors="replace").rstrip("\r"),
        )
        for number, inode, begin, line in kept
    ]
    return lines, seen


def _around(line: bytes, at: int) -> bytes:
    """As much of a line as is answered, with what was found in it."""
    if len(line) <= LONGEST_FOUND:
        return line
    start = max(0, min(at - LONGEST_FOUND // 4, len(line) - LONGEST_FOUND))
    return line[start : start + LONGEST_FOUND]
