"""Takes samples in a thread of its own, and answers the call `metrics` from what was kept.

One pass a second while a controller asks, which it does every ten seconds; one in ten seconds when none has for a
while. Passes that cost more than a twentieth of a core come less often. What fails is told once and tried again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

from hostd.metrics.cost import Meter
from hostd.metrics.keeping import SLOTS, Kept
from hostd.spec import HostError
from hostd.spec.metrics import MOST_SAMPLES, GuestSample, HostSample, Measured, Metrics, pack_guests, pack_host

QUICK: Final = 1.0
SLOW: Final = 10.0
"""Seconds between two passes, at least and at most."""

SHARE: Final = 0.05
"""Of one core, that passes may take; see `cost`."""

BUSY: Final = 0.5
"""Of the time, that a pass may be under way: libvirt keeps a guest waiting for so long."""

MEMORY: Final = 8
"""Passes over which costs are averaged."""

ASKED: Final = 120.0
"""Seconds for which a controller that has asked counts as one that will ask again."""

SWEEP: Final = 3600.0

_SECOND: Final = 1_000_000
_Sample = TypeVar("_Sample", GuestSample, HostSample)

log = logging.getLogger(__name__)


class Sampler:
    """One host's. Until `start`, nothing is sampled but by `sample`."""

    def __init__(
        self,
        *,
        directory: Path,
        uuid: Callable[[], str],
        guests: Callable[[], Iterable[GuestSample]],
        host: Callable[[], HostSample],
        clock: Callable[[], float],
    ) -> None:
        """`uuid` is the host's own; `guests` raises HostError, `host` OSError."""
        self._kept = Kept(directory)
        self._uuid = uuid
        self._guests = guests
        self._host = host
        self._clock = clock
        self._nudged = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._asked = time.monotonic()
        self._cost = 0.0
        self._took = 0.0
        self._trouble = self._last = ""
        self._swept = time.monotonic()

    # ------------------------------------------------------------------------ life

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No further pass begins; one that is under way is given a moment."""
        self._stopping = True
        self._nudged.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * QUICK)

    @property
    def every(self) -> float:
        """Seconds from one pass to the next."""
        wanted = QUICK if time.monotonic() - self._asked < ASKED else SLOW
        return min(SLOW, max(wanted, self._cost / SHARE, self._took / BUSY))

    def _run(self) -> None:
        meter = Meter()
        while not self._stopping:
            every = self.every
            # In the middle of a second, so that a late pass still falls into its slot.
            self._nudged.wait(every - (self._clock() - 0.5) % every)
            self._nudged.clear()
            if not self._stopping:
                began, spent = time.monotonic(), meter.spent()
                self._pass()
                # One dear pass is no rule, and the daemon's clock has hundredths: believe what was so for a while.
                self._cost += (max(0.0, meter.spent() - spent) - self._cost) / MEMORY
                self._took += (time.monotonic() - began - self._took) / MEMORY

    def _pass(self) -> None:
        try:
            self.sample()
            if time.monotonic() - self._swept > SWEEP:
                self._swept = time.monotonic()
                self._kept.sweep(self._clock())
            trouble = ""
        except (HostError, OSError) as bad:
            trouble = str(bad)
        except Exception as bad:
            # The edge of the thread: numbers are a convenience, and their failure ends nothing.
            log.debug("sampling", exc_info=True)
            trouble = repr(bad)
        # Twice in a row: as the daemon starts, libvirt is not connected yet.
        if trouble == self._last != self._trouble:
            log.log(logging.WARNING if trouble else logging.INFO, "sampling: %s", trouble or "well again")
            self._trouble = trouble
        self._last = trouble

    # ------------------------------------------------------------------------ samples

    def sample(self) -> None:
        """One pass: all guests, and the host. Raises HostError, OSError; either is kept where the other fails."""
        try:
            self._kept.add((), self._host())
        finally:
            self._kept.add(tuple(self._guests()), None)

    def measured(self, asked: Metrics) -> Measured:
        """The answer to the call. Raises OSError."""
        quicken = time.monotonic() - self._asked > ASKED
        self._asked = time.monotonic()
        if quicken:
            self._nudged.set()
        now = int(self._clock() * _SECOND)
        since = max(asked.since if asked.since >= 0 else now + asked.since, now - SLOTS * _SECOND)
        own = self._uuid()
        wanted = set(asked.ids)
        guests: list[GuestSample] = []
        for uuid in self._kept.guests():
            if not wanted or uuid in wanted:
                guests += _thinned(self._kept.guest(uuid, since=since, until=now), step=asked.step, now=now)
        host = self._kept.host(since=since, until=now) if not wanted or own in wanted else []
        guests.sort(key=lambda sample: sample.at_us)
        kept, more = _some(guests)
        return Measured(
            at=now,
            guests=pack_guests(kept),
            host=pack_host(_thinned(host, step=asked.step, now=now)),
            more=more,
            every=self.every,
        )


def _thinned(samples: list[_Sample], *, step: int, now: int) -> list[_Sample]:
    """All of them, or the last of each whole step that is over. Each step then has one, whenever it is asked for."""
    if step <= 1:
        return samples
    width = step * _SECOND
    last = {sample.at_us // width: sample for sample in samples}
    return [sample for number, sample in last.items() if number < now // width]


def _some(samples: list[GuestSample]) -> tuple[list[GuestSample], bool]:
    """The first MOST_SAMPLES, or all; a moment's samples stay together, since the next question names a moment."""
    if len(samples) <= MOST_SAMPLES:
        return samples, False
    end = MOST_SAMPLES
    while end > 0 and samples[end - 1].at_us == samples[end].at_us:
        end -= 1
    return samples[: end or MOST_SAMPLES], True
