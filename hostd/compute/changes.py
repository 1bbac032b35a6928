"""Waiting for something to be so, woken by events and not by the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

POLL: Final = 2.0
"""Seconds after which a wait looks by itself, should an event have been lost with a connection."""


class Changes:
    """A bell: `wake` rings it from any thread, `wait` looks again at each ring."""

    def __init__(self) -> None:
        self._rung = threading.Condition()
        self._count = 0

    def wake(self) -> None:
        with self._rung:
            self._count += 1
            self._rung.notify_all()

    def wait(self, test: Callable[[], bool], *, timeout: float) -> bool:
        """Whether `test` came true within `timeout` seconds. Raises what `test` raises."""
        end = time.monotonic() + timeout
        while True:
            before = self._count
            if test():
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            with self._rung:
                # A ring while `test` looked is not waited for: it may have looked too early.
                if self._count == before:
                    self._rung.wait(min(left, POLL))
