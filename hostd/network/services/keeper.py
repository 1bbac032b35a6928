"""Watches servers that outlive hostd, and has a dead one started again.

They are no children of ours once they are in the background, so that their end is seen by pidfd. Who dies
at once again is started ever later, and never given up.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import attrs

from hostd.spec import HostError

STEADY: Final = 60.0
"""Seconds of life after which a death counts as a first one again."""

LONGEST: Final = 60.0
"""Seconds between two tries, at most."""

log = logging.getLogger(__name__)


@attrs.define(kw_only=True)
class _Kept:
    descriptor: int | None = None
    """Pidfd, while it lives."""
    since: float = 0.0
    deaths: int = 0
    """One after another."""
    due: float | None = None
    """When it is started again; None while it lives."""


class Keeper:
    """Keeps servers by name. Thread-safe."""

    def __init__(self, revive: Callable[[str], int | None]) -> None:
        """`revive` starts the server of that name again, on the keeper's thread: its pid, or None when none is wanted
        any more. It raises HostError when it cannot, and is then asked again later."""
        self._revive = revive
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()
        self._selector: selectors.BaseSelector | None = None
        self._wake_reader, self._wake_writer = -1, -1
        self._thread: threading.Thread | None = None
        self._over = False

    def start(self) -> None:
        self._wake_reader, self._wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the servers live on. Fine when not started."""
        if self._thread is None or self._selector is None:
            return
        self._over = True
        self._wake()
        self._thread.join()
        self._thread = None
        for name in list(self._kept):
            self.forget(name)
        self._selector.close()
        self._selector = None
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def watch(self, name: str, pid: int) -> None:
        """Keep this process alive under that name, in place of the one before. One that is dead already is revived."""
        if self._selector is None:
            return
        with self._lock:
            kept = self._kept.setdefault(name, _Kept())
            self._release(kept)
            kept.since, kept.due = time.monotonic(), None
            try:
                kept.descriptor = os.pidfd_open(pid)
                self._selector.register(kept.descriptor, selectors.EVENT_READ, name)
            except ProcessLookupError:
                kept.due = time.monotonic()
        self._wake()

    def forget(self, name: str) -> None:
        """It may end. Fine when it is not kept."""
        with self._lock:
            kept = self._kept.pop(name, None)
            if kept is not None:
                self._release(kept)

    def _release(self, kept: _Kept) -> None:
        if kept.descriptor is not None and self._selector is not None:
            self._selector.unregister(kept.descriptor)
            os.close(kept.descriptor)
            kept.descriptor = None

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._wake_writer, b"\0")

    def _run(self) -> None:
        assert self._selector is not None
        while not self._over:
            with self._lock:
                due = [kept.due for kept in self._kept.values() if kept.due is not None]
            timeout = max(0.0, min(due) - time.monotonic()) if due else None
            for key, _ in self._selector.select(timeout):
                if key.data is None:
                    with suppress(BlockingIOError):
                        os.read(self._wake_reader, 4096)
                else:
                    self._died(key.data)
            for name in self._now_due():
                self._try(name)

    def _died(self, name: str) -> None:
        with self._lock:
            kept = self._kept.get(name)
            if kept is None:
                return
            self._release(kept)
            now = time.monotonic()
            kept.deaths = 1 if now - kept.since > STEADY else kept.deaths + 1
            kept.due = now + _delay(kept.deaths)

    def _now_due(self) -> list[str]:
        now = time.monotonic()
        with self._lock:
            return [name for name, kept in self._kept.items() if kept.due is not None and kept.due <= now]

    def _try(self, name: str) -> None:
        try:
            pid = self._revive(name)
        except HostError:
            pid = -1
        except Exception:
            log.exception("reviving %s", name)
            pid = -1
        if pid is None:
            self.forget(name)
        elif pid > 0:
            self.watch(name, pid)
        else:
            with self._lock:
                if kept := self._kept.get(name):
                    kept.deaths += 1
                    kept.due = time.monotonic() + _delay(kept.deaths)


def _delay(deaths: int) -> float:
    """At once after the first death; then 1, 2, 4, … seconds."""
    return 0.0 if deaths <= 1 else min(LONGEST, 2.0 ** (deaths - 2))
