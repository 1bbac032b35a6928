"""How far a copy is, how fast it goes and when it will be done: kept on the operation for whoever watches."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from core.errors import SkydeckError
from core.operations.work import Work

EVERY: Final = 1.0
"""Seconds between two figures."""

_MEMORY: Final = 0.7
"""How much of the rate is that of before: it neither jumps nor lags."""


class Meter:
    """Call it with (bytes done, bytes in all), in the event loop, as often as you like.

    The operation's `data.copied` says {done, total, rate, remaining}: bytes, bytes a second, and seconds.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._began = self._last = asyncio.get_running_loop().time()
        self._done: int | None = None
        self._rate = 0.0
        self._writing: asyncio.Task[None] | None = None

    def __call__(self, done: int, total: int) -> None:
        self._work.report(100 * done // (total or 1))
        now = asyncio.get_running_loop().time()
        if self._done is None:
            self._done, self._last = done, now
        passed = now - self._last
        if passed < EVERY or (self._writing is not None and not self._writing.done()):
            return
        rate = (done - self._done) / passed
        self._rate = _MEMORY * self._rate + (1 - _MEMORY) * rate if self._rate else rate
        self._done, self._last = done, now
        remaining = int((total - done) / self._rate) if self._rate > 0 else None
        self._work.note(copied={"done": done, "total": total, "rate": int(self._rate), "remaining": remaining})
        self._writing = asyncio.ensure_future(self._write())

    async def _write(self) -> None:
        with contextlib.suppress(SkydeckError):  # a figure less
            await self._work.write(lambda session: None)

    async def close(self) -> None:
        """Nothing is written any more when this returns."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
