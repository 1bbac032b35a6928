"""How fast something goes and how long it still takes, from what its operation tells."""

from __future__ import annotations

from typing import Any

from tui.text import duration, size

_SECOND = 1_000_000


def pace(row: dict[str, Any], now: int) -> str:
    """`12.5 MiB/s, 40s left`; of what counts no bytes only what is left; empty while nothing can be told.

    Of a row of the listing `operation`: a copy keeps its own figures (`copied`: bytes a second, and seconds), of
    anything else what is left follows from the percentage and when it began.
    """
    if row.get("state", "running") != "running":
        return ""
    copied = row.get("copied")
    if copied and copied.get("rate"):
        seconds = copied.get("remaining")
        left = f", {duration(seconds * _SECOND)} left" if seconds is not None else ""
        return f"{size(copied['rate'])}/s{left}"
    start, percent = row.get("started_at"), row.get("progress") or 0
    if not start or not 0 < percent < 100 or now - start < _SECOND:
        return ""
    return f"{duration((now - start) * (100 - percent) // percent)} left"
