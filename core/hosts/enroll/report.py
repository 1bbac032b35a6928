"""What enrolment tells while it works, and what it says at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import attrs

from core.errors import SkydeckError, Unavailable, Unknown
from core.hosts.enroll.target import Lost

Ask = Callable[[str], bool]
"""Puts a question of several lines to a person; True means yes."""

Tell = Callable[[str], None]
"""Shows one line."""


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    """Works, with the limit that `found` names."""
    MISSING = "missing"
    """Can be installed: `Row.packages`."""
    FAIL = "fail"
    """In the way, and not ours to mend."""


@attrs.frozen
class Row:
    """One line of the table."""

    check: str
    found: str
    verdict: Verdict = Verdict.OK
    packages: tuple[str, ...] = ()
    """What would mend a MISSING row."""


@attrs.frozen(kw_only=True)
class Report:
    """How an enrolment or a removal ended."""

    host_id: str
    name: str
    rows: tuple[Row, ...]
    changed: tuple[str, ...]
    """What this run changed on the host, by name; empty when all was so already."""


class Steps:
    """Names each step aloud, and gives a cut connection the right name: nothing happened, or unknown what."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.changes: list[str] = []
        self.rows: list[Row] = []
        self.acting = False
        """From the first step that may change the host on."""

    @contextmanager
    def step(self, name: str, doing: str) -> Iterator[list[str]]:
        """Append to the yielded list what the end of the step shall say."""
        self._tell(f"{name}: {doing}")
        said: list[str] = []
        try:
            yield said
        except Lost as lost:
            self._tell(f"{name}: failed")
            if not self.acting:
                raise Unavailable(str(lost), hint="Nothing was changed. Check the host and its network.") from lost
            raise Unknown(
                f"{lost} (during {name})", hint="Run the same command again: it goes on where this one ended."
            ) from lost
        except SkydeckError:
            self._tell(f"{name}: failed")
            raise
        self._tell(f"{name}: ok" + (f", {', '.join(said)}" if said else ""))

    def report(self, *, host_id: str, name: str) -> Report:
        return Report(host_id=host_id, name=name, rows=tuple(self.rows), changed=tuple(self.changes))
