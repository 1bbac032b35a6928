"""Follows every guest's console log: writes down when it grew, and tells of what a person should hear of.

It looks at file sizes once a second, which costs a system call a guest, and reads what is new. A guest decides how much
it writes: what it wrote beyond MOST_READ between two looks is passed over, and what it may tell is limited, per guest
and pattern (less and less often while it goes on) and for the host as a whole.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import attrs

from hostd.drivers import Happened
from hostd.logs import patterns
from hostd.logs.files import parts, times_of
from hostd.logs.times import UNKNOWN, Mark, append, marks
from hostd.spec import EventKind

EVERY: Final = 1.0
"""Seconds between two looks."""

MOST_READ: Final = 256 * 1024
"""Bytes of one guest read at a look."""

MOST_AT_ONCE: Final = 2 << 20
"""Bytes of all guests read at a look: a tenth of a second. The guests take turns in being first."""

TIDY_EVERY: Final = 3600.0
"""Seconds between two looks for logs of deleted guests that were kept long enough."""

QUIET: Final = (60.0, 6 * 3600.0)
"""Seconds for which the same is not told again of a guest: at first, and at most as it goes on."""

AT_ONCE: Final = 60
"""What all guests of a host together may tell in a minute."""

log = logging.getLogger(__name__)


@attrs.define
class _Limit:
    """Of one guest and pattern."""

    told: float
    wait: float
    missed: int = 0


@attrs.define
class _Followed:
    """How far one guest's log was read."""

    inode: int
    offset: int
    rest: bytes = b""
    """The line that has not ended yet."""
    limits: dict[str, _Limit] = attrs.field(factory=dict)


class Follower:
    """`look` is for one thread at a time; `start` gives it one of its own."""

    def __init__(
        self,
        places: Callable[[], Mapping[str, Path]],
        happened: Callable[[Happened], None],
        *,
        tidy: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`places` tells every guest's log by uuid, there or not yet; `happened` is called on the looking thread, and
        so is `tidy`, now and then."""
        self._places = places
        self._happened = happened
        self._tidy = tidy
        self._tidied = 0.0
        self._clock = clock
        self._followed: dict[str, _Followed] = {}
        self._began = False
        self._left = MOST_AT_ONCE
        self._turn = 0
        self._minute = 0.0
        self._told = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Fine when not started."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping.wait(EVERY):
            try:
                self.look()
                if self._clock() - self._tidied > TIDY_EVERY:
                    self._tidied = self._clock()
                    self._tidy()
            except OSError as bad:
                log.warning("logs of guests: %s", bad)  # a full disk: the next look tries again

    def look(self) -> None:
        """Once over all guests. Raises OSError when it cannot write down what it saw."""
        places = self._places()
        for uuid in self._followed.keys() - places.keys():
            del self._followed[uuid]
        self._left = MOST_AT_ONCE
        first = self._turn % len(places) if places else 0
        self._turn += 1
        ordered = list(places.items())
        for uuid, path in ordered[first:] + ordered[:first]:
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            known = self._followed.get(uuid)
            if known is None:
                known = self._followed[uuid] = self._begin(path, status)
            if (known.inode, known.offset) != (status.st_ino, status.st_size):
                self._grown(uuid, path, known)
        self._began = True

    def _begin(self, path: Path, status: os.stat_result) -> _Followed:
        """Where to go on: where the last look of an earlier process was, else at the end of what was there before this
        one, else at the beginning."""
        last = None
        for last in marks(times_of(path)):  # noqa: B007  the last one is what is wanted
            pass
        if last is not None:
            return _Followed(last.inode, last.offset)
        if self._began or not status.st_size:
            return _Followed(status.st_ino, 0)
        append(times_of(path), Mark(status.st_ino, status.st_size, UNKNOWN))
        return _Followed(status.st_ino, status.st_size)

    def _grown(self, uuid: str, path: Path, known: _Followed) -> None:
        now = self._clock()
        for part in parts(path):
            try:
                with part.open("rb") as file:
                    status = os.fstat(file.fileno())
                    if status.st_ino != known.inode and part != path:
                        continue  # turned over before we came to it, or read already
                    if status.st_ino != known.inode or status.st_size < known.offset:
                        known.inode, known.offset, known.rest = status.st_ino, 0, b""
                    start = max(known.offset, status.st_size - min(MOST_READ, self._left))
                    if start > known.offset:
                        known.rest = b""
                    file.seek(start)
                    data = file.read(status.st_size - start)
            except FileNotFoundError:
                continue
            grown = status.st_size > known.offset
            known.offset = start + len(data)
            self._left -= len(data)
            if grown:
                append(times_of(path), Mark(known.inode, known.offset, now))
                self._read(uuid, known, data, now)

    def _read(self, uuid: str, known: _Followed, data: bytes, now: float) -> None:
        whole, newline, rest = (known.rest + data).rpartition(b"\n")
        known.rest = rest[-patterns.LONGEST_LINE :]
        if newline:
            for name, line in patterns.told(whole):
                self._tell(uuid, known, name, line, now)
        if patterns.asks_login(known.rest):
            self._tell(uuid, known, patterns.LOGIN, known.rest, now)

    def _tell(self, uuid: str, known: _Followed, name: str, line: bytes, now: float) -> None:
        limit = known.limits.get(name)
        if limit is not None and now - limit.told < limit.wait:
            limit.missed += 1
            return
        if now - self._minute >= 60:
            self._minute, self._told = now, 0
        if self._told >= AT_ONCE:
            if limit is not None:
                limit.missed += 1
            return
        self._told += 1
        first, longest = QUIET
        again = limit is not None and now - limit.told < 2 * limit.wait
        wait = min(longest, 2 * limit.wait) if limit is not None and again else first
        times = 1 + (limit.missed if limit is not None else 0)
        known.limits[name] = _Limit(told=now, wait=wait)
        detail = {"pattern": name, "line": patterns.shown(line), "times": times}
        self._happened(Happened(kind=EventKind.CONSOLE, uuid=uuid, detail=detail))
