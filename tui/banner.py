"""The line that says when something is away, why, and what to do: the database, the engine, hosts. Pure.

It comes and goes by itself. Nothing that is away ends the app: rows stay as they were, and say how old they are.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from tui.text import duration
from tui.view import Cell

SILENT: Final = 3.0
"""Seconds without an answer of the database after which it is said."""

ENGINE_STARTS: Final = 5.0
"""Seconds that an engine gets to start before its absence is said."""

RECENT: Final = 600 * 1_000_000
"""Microseconds: a host that went away longer ago is no news; the list of hosts tells."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Away:
    """What is known of what does not answer."""

    opening: tuple[str, str] | None = None
    """Why the store cannot be opened: title and hint."""
    silence: float = 0.0
    """Seconds since the database last answered."""
    trouble: str = ""
    """What it said instead."""
    engine_gone: float = 0.0
    """Seconds without an engine; 0: there is one, or it is not known."""
    engine_trouble: str = ""
    """Why none could be started."""
    hosts: tuple[tuple[str, str], ...] = ()
    """Hosts that went away lately, and why: the first few."""
    hosts_more: int = 0


def banner(away: Away) -> list[Cell]:
    """What to say; nothing when all answer."""
    if away.opening is not None:
        title, hint = away.opening
        return _line(f"the database cannot be opened: {title}", hint or "it is tried again every 2 s")
    if away.trouble or away.silence > SILENT:
        age = duration(int(away.silence * 1_000_000))
        why = f": {away.trouble}" if away.trouble else ""
        return _line(f"the database does not answer{why}", f"rows are {age} old; it is tried again, operations go on")
    if away.engine_gone > ENGINE_STARTS:
        why = f": {away.engine_trouble}" if away.engine_trouble else ""
        return _line(f"no engine is at work{why}", "what you ask for waits; run: skydeck serve", tone="ask")
    if away.hosts:
        name, why = away.hosts[0]
        more = f" and {away.hosts_more} more" if away.hosts_more else ""
        return _line(f"host {name}{more} is away: {why}", ":hosts tells; its guests may still run", tone="ask")
    return []


def _line(what: str, act: str, *, tone: str = "alarm") -> list[Cell]:
    return [(f" {what} ", tone), (f"  {act}", "")]
