"""How fast something goes and how long it still takes, from what its operation tells: percent, and when it began."""

from __future__ import annotations

from typing import Any

from tui.text import duration, size

_SECOND = 1_000_000


def pace(row: dict[str, Any], now: int) -> str:
    """`12.5 MiB/s, 40s left`; without the bytes of it all, only what is left; empty while nothing can be told.

    Of a row of the listing `operation`; `bytes`, when it is there and not None, is how many there are in all.
    """
    start, percent = row.get("started_at"), row.get("progress") or 0
    if not start or row.get("state", "running") != "running" or not 0 < percent < 100 or now - start < _SECOND:
        return ""
    passed = now - start
    left = f"{duration(passed * (100 - percent) // percent)} left"
    total = row.get("bytes")
    return f"{size(total * percent // 100 * _SECOND // passed)}/s, {left}" if total else left
