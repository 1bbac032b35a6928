"""What is measured of objects, for lists: read for the rows in sight alone, and not more often than it changes.

A list holds 50,000 rows; their rings hold a value each ten seconds. Only what a person looks at is read, which is why
no list can be sorted by it: nobody knows the order of what nobody has read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tui.charts import sparkline
from tui.verbs import Reason, Row
from tui.view import Cell, Column, Look, View
from tui.views.cells import compact

if TYPE_CHECKING:
    from core.metrics import Latest
    from tui.seat import Seat

EVERY = 10.0
"""Seconds: the step in which it is kept."""

SPARK = 16
"""Cells of a trend at most: 32 steps in braille."""


class Measured:
    """The last look at some objects. One list has one."""

    def __init__(self) -> None:
        self.values: dict[str, Latest] = {}
        """Object id to what was measured of it; those of which nothing is known are absent."""
        self._asked: frozenset[str] = frozenset()
        self._at = -EVERY
        self._busy = False

    def due(self, ids: Iterable[str]) -> bool:
        """Whether these should be read: some never were, or all too long ago."""
        return not self._busy and (time.monotonic() - self._at >= EVERY or not self._asked.issuperset(ids))

    async def read(self, seat: Seat, ids: Iterable[str]) -> None:
        """Read these, on the reading thread. What was known of others is forgotten."""
        asked = frozenset(ids)
        self._busy = True
        try:
            self.values = await seat.latest(asked)
        except OSError:
            self.values = {}  # what cannot be read is not known; the next look tries again
        finally:
            self._asked, self._at, self._busy = asked, time.monotonic(), False


def refused(view: View, columns: Iterable[str]) -> Reason | None:
    """Why a list can be neither sorted nor filtered by one of these columns (names or titles): it shows a measurement.

    An order by what was read of the rows in sight would be the order of those, and told as if it were of all.
    """
    titles = {column.title.lower() for column in view.columns if column.measured is not None}
    for name in columns:
        if name.lower() in titles:
            what = f"no list can be sorted or filtered by {name.lower()}: it is read for the rows in sight alone"
            return what, "A host's page shows its busiest guests (:hv, d), :pulse the busiest hosts."
    return None


# ---------------------------------------------------------------------------- columns


def _percent(value: float) -> Cell:
    return f"{value:.0f}%", "bad" if value >= 95 else "warn" if value >= 80 else ""


def _cpu(row: Row, latest: Latest | None, look: Look) -> Cell:
    return _percent(latest.cpu_percent) if latest is not None else ("-", "dim")


def _memory(row: Row, latest: Latest | None, look: Look) -> Cell:
    return _percent(latest.memory_percent) if latest is not None else ("-", "dim")


CPU = Column(title="CPU", width=4, measured=_cpu, right=True)
MEMORY = Column(title="MEM", width=4, measured=_memory, right=True, wide=True)


def trend(note: Callable[[Row, int], Cell], *, passing: tuple[str, ...] = (), width: int = 8, grow: int = 40) -> Column:
    """The trend of the CPU; what the row has to tell (`note`, a column's `cell`) comes before it, unless its tone is
    one of `passing`, then after it."""

    def cell(row: Row, latest: Latest | None, look: Look) -> Cell:
        said: Cell = note(row, look.now)
        if latest is None or (said[0] and said[1] not in passing):
            return said
        drawn = sparkline(latest.trend, min(SPARK, look.room), 100.0, look.glyphs)
        return (f"{drawn}  {said[0]}" if said[0] and look.room >= len(drawn) + 2 + len(said[0]) else drawn), "busy"

    return Column(title="TREND", width=width, grow=grow, measured=cell)


# ---------------------------------------------------------------------------- rates in words


def rate(value: float) -> str:
    """Bytes a second, short: `310K/s`."""
    return f"{compact(round(value))}/s"
