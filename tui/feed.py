"""News of the store: a thread that asks for its version five times a second and says when it changed.

A poll costs microseconds on SQLite, and a thread of its own means that a slow disk or a distant database never
holds up a key press.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.store import Store

INTERVAL = 0.2
"""Seconds between two looks: a change made elsewhere is on the screen well within a second."""


PATIENCE = 5.0
"""Seconds that stopping waits for a store that does not answer."""


class Feed:
    """Calls `changed()` on its own thread, after every commit of anybody; coalesces what happens between two looks."""

    def __init__(self, store: Store, changed: Callable[[], None], *, interval: float = INTERVAL) -> None:
        self._store = store
        self._changed = changed
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="feed", daemon=True)
        self.seen_at = time.monotonic()
        """When the store last answered, by time.monotonic()."""
        self.trouble = ""
        """Why it does not answer now; empty when it does."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Waits for a look under way, so that the store may be closed after it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=PATIENCE)

    @property
    def silence(self) -> float:
        """Seconds since the store last answered."""
        return time.monotonic() - self.seen_at

    def _watch(self) -> None:
        last: int | None = None
        while not self._stop.wait(self._interval):
            try:
                version = self._store.version()
            except Exception as bad:  # noqa: BLE001  the loop's edge: whatever a driver raises is shown, and tried again
                self.trouble = str(bad).splitlines()[0] if str(bad) else type(bad).__name__
                continue
            self.trouble = ""
            self.seen_at = time.monotonic()
            if version != last:
                self._changed()
            last = version
