"""What the app said: a message fades from the screen, and stays here."""

from __future__ import annotations

import dataclasses
from collections import deque

KEPT = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class Note:
    at: int
    """Microseconds since the epoch."""
    tone: str
    """ok, warn or bad."""
    title: str
    hint: str = ""
    """The next act."""
    about: tuple[str, str] | None = None
    """(kind, key) of the object it is about."""


class Notes:
    """The newest messages, oldest first."""

    def __init__(self) -> None:
        self._kept: deque[Note] = deque(maxlen=KEPT)
        self.count = 0
        """How many there ever were."""
        self.errors = 0
        """Messages of the tone `bad` since they were last looked at."""

    def add(self, note: Note) -> None:
        self._kept.append(note)
        self.count += 1
        if note.tone == "bad":
            self.errors += 1

    def newest_first(self) -> list[Note]:
        return list(reversed(self._kept))
