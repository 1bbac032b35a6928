"""What lists and pages ask: how objects do now, and how one did over time. Read from the ring files alone.

Who may see an object may see these: the ids come from lists and lookups, which have asked the policy.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from core.config import Config
from core.metrics import files
from core.metrics.rates import SECOND, Latest, Rate, Series, percent, to_series
from hostd.spec.rings import Entry

TREND = 32
"""Steps of a trend at most."""

FRESH = 45
"""Seconds after which an object without a newer record is not doing anything that we know of: it is off, its host is
not connected, or no engine runs."""

FOLLOWS = 25
"""Seconds between two records that still follow each other: one may be missing."""


def latest(config: Config, ids: Iterable[str], *, now: int | None = None) -> dict[str, Latest]:
    """How these objects do now, by id; those of which nothing is known now are absent.

    `now` in microseconds since the epoch. A hundred take a few milliseconds.
    """
    now = int(time.time() * SECOND) if now is None else now
    found = {}
    since, until = now - (TREND + 1) * files.STEP * SECOND, now + files.STEP * SECOND
    for id in ids:
        host, entries = files.recent(config, id, since=since, until=until)
        if entries and now - entries[-1][0] <= FRESH * SECOND:
            found[id] = _latest(files.rate(entries[-1], host=host), _trend(entries))
    return found


def series(config: Config, id: str, *, span_s: int, points: int | None = None, now: int | None = None) -> Series:
    """The last `span_s` seconds of one object, ten seconds a point; `points` caps their number by taking means.

    Empty for an object of which nothing is kept.
    """
    now = int(time.time() * SECOND) if now is None else now
    host, entries = files.recent(config, id, since=now - span_s * SECOND, until=now + files.STEP * SECOND)
    return to_series([files.rate(entry, host=host) for entry in entries], step=files.STEP, points=points)


def _latest(newest: Rate, trend: tuple[float, ...]) -> Latest:
    return Latest(
        cpu_percent=newest.cpu,
        memory_percent=newest.memory,
        memory_used=newest.memory_used,
        memory_max=newest.memory_max,
        memory_guest=newest.memory_guest,
        disk_rate=newest.disk_read + newest.disk_write,
        net_rate=newest.net_rx + newest.net_tx,
        disk_percent=percent(newest.disk_used, newest.disk_total) if newest.disk_total else None,
        trend=trend,
        at=newest.at,
    )


def _trend(entries: Sequence[Entry]) -> tuple[float, ...]:
    """The cpu of the run of entries that ends with the newest."""
    first = len(entries) - 1
    while first > 0 and entries[first][0] - entries[first - 1][0] <= FOLLOWS * SECOND:
        first -= 1
    return tuple(entry[1] for entry in entries[max(first, len(entries) - TREND) :])
