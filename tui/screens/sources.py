"""What a detail page shows that no store holds: the console's end and what was measured, asked for again and again.

Each is read while it is looked at and at no other time, by a loop of its own, so that a slow host delays nothing else.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tui.console.lines import LogLines
from tui.view import Cell, Lines
from tui.views import metrics
from tui.views.metrics import SPANS, Span
from tui.widgets.lines import sized

if TYPE_CHECKING:
    from core.consoles.client import Log
    from core.metrics import Latest, Series
    from tui.seat import Seat

TAIL_LINES = 40

LOOK_AGAIN = 2.0
"""Seconds between two looks at a console."""

KEPT = 10.0
"""Seconds from one sample to the next of those that are kept."""

SHARE = 20
"""Asking for measurements may take one part in so many of the time."""


class Console:
    """The end of a guest's console log."""

    def __init__(self, seat: Seat, instance: str) -> None:
        self._seat = seat
        self._instance = instance
        self._log: Log | None = None
        self._kept = LogLines()
        self.lines: Lines = []
        """What is shown of it: the log, or why there is none."""

    async def read(self, count: int) -> None:
        """Look again, at so many lines: at what is new, over one connection, for as long as that lasts."""
        from core.errors import SkydeckError

        try:
            if self._log is None:
                self._log = await self._seat.open_log(self._instance, count)
            part = await self._log.read(count)
        except (SkydeckError, OSError) as bad:
            title, hint = getattr(bad, "title", str(bad)), getattr(bad, "hint", "")
            self.lines = [[("No console: ", "warn"), (title, "")], [(hint, "dim")]]
            await self.close()
            return
        if part is None:
            await self.close()
            return
        self._kept.feed(part)
        last = self._kept.lines[-count:]
        while last and not last[-1].strip():
            last.pop()
        self.lines = [[(line, "")] for line in last] or [[("The console has said nothing yet.", "dim")]]

    async def close(self) -> None:
        """Nobody looks any more, or the connection has ended: the next look opens another."""
        if self._log is not None:
            log, self._log = self._log, None
            await log.close()


class Course:
    """What was measured of one object over a span of time."""

    def __init__(self, seat: Seat, id: str, *, host: bool) -> None:
        self._seat = seat
        self._id = id
        self._host = host
        self._of: Span | None = None
        self.span = SPANS[0]
        self.series: Series | None = None
        """None: not read yet."""
        self.problem = ""
        """Why the live span is shown in steps of ten seconds."""

    def wider(self, by: int) -> None:
        """The next longer span, or the next shorter one."""
        at = max(0, min(len(SPANS) - 1, SPANS.index(self.span) + by))
        if SPANS[at] is not self.span:
            self.span, self.series = SPANS[at], None

    async def read(self, span: Span) -> float:
        """Look again; answers after how many seconds another look is worth it."""
        from core.errors import SkydeckError

        began = time.monotonic()
        found: Series | None = None
        problem = ""
        if span.live:
            try:
                found = await self._seat.metrics(self._id, span.seconds)
            except (SkydeckError, OSError) as bad:
                problem = f"every 10 s: {getattr(bad, 'title', str(bad))}"
        if found is None or (span.live and not found.at):
            try:
                found = await self._seat.series(self._id, span.seconds)
            except OSError as bad:
                self.problem = f"what is kept cannot be read: {bad.strerror}"
                return KEPT
        self.series, self.problem, self._of = found, problem if found.at else "", span
        pause = KEPT if problem or not span.live else 1.0
        return max(pause, SHARE * (time.monotonic() - began))

    def _now(self) -> int:
        """The newest sample is now, when it is as good as that: a host's clock is not exactly this one's."""
        now = self._seat.now()
        at = self.series.at[-1] if self.series is not None and self.series.at else now
        return at if abs(now - at) < 5_000_000 else now

    @property
    def title(self) -> str:
        """Of the overview's box: how often it is measured."""
        return "Live 10s" if self.problem else "Live 1s"

    def brief(self, glyphs: str) -> Callable[[int], Lines]:
        """The lines of an overview, by width."""
        return lambda width: metrics.brief(self.series, width, glyphs, now=self._now(), host=self._host)

    def page(self, width: int, height: int, glyphs: str) -> Lines:
        """The page of plots, its line of spans first."""
        series = self.series if self._of is self.span else None
        now = self._now()
        top: list[Cell] = metrics.controls(self.span, series, self.problem, now=now)
        body = metrics.page(series, self.span, width, height - 2, glyphs, now=now, host=self._host)
        return [sized(top, width), [("", "")], *body]


class Guests:
    """The guests of a host that use most of their CPUs."""

    def __init__(self, seat: Seat, host: str) -> None:
        self._seat = seat
        self._name = host
        self._found: list[tuple[str, Latest]] | None = None
        """(name, what was measured), the busiest first."""

    async def read(self) -> float:
        """Look again, at all of its guests that the caller may see; answers after how many seconds it is worth it."""
        from core import listing as lists
        from core.errors import SkydeckError

        seat, began = self._seat, time.monotonic()
        ctx = dataclasses.replace(seat.ctx, all_projects=seat.ctx.is_admin)
        slim = dataclasses.replace(seat.listings["instance"], enrich=lambda session, rows: None)
        try:
            rows = await seat.read(lambda session: lists.page(session, ctx, slim, where={"host": self._name}))
        except SkydeckError:
            return KEPT
        try:
            measured = await seat.latest([row["id"] for row in rows])
        except OSError:
            measured = {}
        found = [(str(row["name"]), measured[row["id"]]) for row in rows if row["id"] in measured]
        self._found = sorted(found, key=lambda one: (-one[1].cpu_percent, one[0]))
        return max(KEPT, SHARE * (time.monotonic() - began))

    def lines(self, glyphs: str) -> Callable[[int], Lines]:
        """A line a guest, by width."""
        return lambda width: metrics.busiest(self._found, width, glyphs)
