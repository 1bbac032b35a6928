"""Consoles, their logs, and ways into guests, as they cross.

The stream of a `console` call carries bytes of the serial line, and notes about who else is there and who may type: see
`console_frames`. The stream of a `connect` call is bytes alone.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import attrs


@attrs.frozen(kw_only=True)
class Console:
    """Bulk: attach to a guest's serial console. Several may watch; all see the same bytes."""

    uuid: str
    write: bool = True
    """Whether this one may type at all; others may still have taken the console over."""
    history: int = 2000
    """Bytes of the log sent first, so that the screen is not blank."""
    who: str = ""
    """What the others are told this one is called."""


class Change(StrEnum):
    """Why a note is sent."""

    ATTACHED = "attached"
    """This is the first note of a stream, and comes before any byte."""
    JOINED = "joined"
    LEFT = "left"
    TAKEN = "taken"
    """Somebody took the console over: nobody else's keys reach the guest now."""
    RELEASED = "released"
    """Shared again."""
    OFF = "off"
    """The guest's process has ended; keys reach nobody."""
    ON = "on"


@attrs.frozen(kw_only=True)
class ConsoleNote:
    """To a watcher. Each holds all there is to know, so that one that was missed does no harm."""

    change: Change
    who: str
    """Whose doing it is; empty for the guest's own."""
    others: tuple[str, ...]
    """Everybody else who is attached."""
    holder: str | None
    """Who has taken the console over; None: shared."""
    typing: bool
    """Whether what this watcher types reaches the guest."""
    running: bool


class Wish(StrEnum):
    """What a watcher may ask for, by a note of its own."""

    TAKE = "take"
    RELEASE = "release"


@attrs.frozen(kw_only=True)
class ConsoleWish:
    wish: Wish


# ---------------------------------------------------------------------------- ways into a guest


class Way(StrEnum):
    TCP = "tcp"
    """A port of one of the guest's addresses, from inside its network's namespace on this host."""
    DISPLAY = "display"
    """The guest's VNC server."""


@attrs.frozen(kw_only=True)
class Connect:
    """Bulk: a byte stream into a guest of this host."""

    uuid: str
    way: Way
    network: str = ""
    """For TCP: whose namespace it is reached from."""
    address: str = ""
    port: int = 0


# ---------------------------------------------------------------------------- logs


@attrs.frozen(kw_only=True)
class ReadLog:
    """The end of what a guest wrote to its console, or what it wrote since."""

    uuid: str
    lines: int = 1000
    after: str = ""
    """`LogRead.cursor` of the answer before: only what came since, when that is still known."""


@attrs.frozen(kw_only=True)
class LogRead:
    text: str
    """Not cleaned of anything: for a terminal only after it was."""
    cursor: str
    whole: bool
    """It stands by itself; otherwise it goes on where the answer before ended, perhaps in the middle of a line."""
    times: tuple[tuple[int, float], ...]
    """(line of `text`, from 0; when): this line and those after it were seen then, within a second or two. Ascending;
    lines before the first were seen by nobody. A line that goes on from the answer before has no time here."""


@attrs.frozen(kw_only=True)
class SearchLogs:
    """Lines of guests' console logs that hold a text, whatever its case. No patterns: a host runs nobody's regular
    expressions."""

    text: str
    uuids: tuple[str, ...]
    """Guests of this host, or that were. Unknown ones are passed over."""
    most: int = 500
    """Lines answered altogether, at most MOST_FOUND; the newest of each guest are kept."""
    each: int = 20
    """Lines of one guest."""
    seconds: float = 5.0
    """Time to look; what was not reached by then is not looked at."""


MOST_FOUND: Final = 2000
LONGEST_FOUND: Final = 400
"""Characters of a line that are answered."""


@attrs.frozen(kw_only=True)
class LogLine:
    uuid: str
    number: int
    """From 1, of all lines that are still kept of this guest."""
    at: float | None
    """When it was seen, where that is known."""
    text: str


@attrs.frozen(kw_only=True)
class LogsFound:
    lines: tuple[LogLine, ...]
    """By guest as asked, each guest's oldest first."""
    searched: int
    """Guests whose logs were looked through."""
    more: bool
    """There were more lines than asked for."""
    unfinished: bool
    """Time ran out."""
