"""Moments as people write them: `30m`, `2h`, `7d` ago, a date, a date with a time."""

from __future__ import annotations

import datetime
import re

from core.errors import Invalid

_AGO = re.compile(r"(\d{1,6})(s|m|h|d|w|y)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}


def parse(text: str, *, now: int) -> int:
    """Microseconds since the epoch; dates and times are UTC. Raises Invalid."""
    if ago := _AGO.fullmatch(text.lower()):
        return now - int(ago[1]) * _SECONDS[ago[2]] * 1_000_000
    try:
        moment = datetime.datetime.fromisoformat(text.upper())
    except ValueError as bad:
        raise Invalid(f"{text!r} is no moment", hint="For example 30m, 2h, 7d, 2026-09-21, 2026-09-21T14:30.") from bad
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() * 1_000_000)
