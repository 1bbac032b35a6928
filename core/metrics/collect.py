"""The engine's part: every ten seconds each host is asked once for all its guests, and what they used is kept.

Nobody waits for any of it: a host that is not connected is not asked, one that is slow is not asked again before it has
answered, and hosts are asked at moments spread over the first half of the ten seconds. What was missed meanwhile, hosts
still know for ten minutes. Reading answers and writing files is one thread's work, not the event loop's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.config import Config
from core.errors import HostFailed, SkydeckError
from core.hosts.table import Host
from core.metrics import files
from core.metrics.rates import SECOND, Rate, guest_rate, host_rate
from core.sql import select
from hostd.spec import ErrorCode, GuestSample, HostError, HostSample, Measured, Metrics
from hostd.spec.metrics import unpack_guests, unpack_host

_log = logging.getLogger(__name__)

SPREAD = 5.0
"""Seconds over which hosts are asked."""

DEADLINE = 8.0

KNOWN = 600
"""Seconds that hosts remember."""

LONGEST = 35.0
"""Seconds between two samples that still make a rate: up to two may be missing."""

SILENT = 600.0
"""Seconds until a host that does not know the call is asked again: it may have been brought up to date."""

SKEW = 5 * SECOND
"""Microseconds that a host's clock may be off before its samples are dated anew."""

TURN = 25
"""Guests that are dealt with at a stretch: a third of a millisecond."""

SWEEP = 300.0
"""Seconds between two looks for rings of objects that are gone."""


class Asked(Protocol):
    """A host, as the pool holds it."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def up(self) -> bool: ...

    async def call(self, call: str, body: Any, *, deadline: float) -> Any: ...


@dataclasses.dataclass
class _Heard:
    """What is known of one host from its last answer."""

    since: int = -KNOWN * SECOND
    """The newest sample's moment, by the host's clock."""
    host: HostSample | None = None
    guests: dict[str, GuestSample] = dataclasses.field(default_factory=dict)
    silent_until: float = 0.0


class Collector:
    """Collects while `run` runs. Used by one event loop."""

    def __init__(
        self,
        config: Config,
        hosts: Callable[[], Iterable[Asked]],
        *,
        living: Callable[[], Awaitable[set[str]]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`living` answers the ids of all objects whose rings are to stay."""
        self._config = config
        self._hosts = hosts
        self._living = living
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._writer: files.Writer | None = None
        self._trouble = ""

    async def run(self) -> None:
        """For ever. What fails is logged once, and tried again ten seconds later."""
        swept = time.monotonic()
        try:
            while True:
                # A second after hosts have completed a step.
                await asyncio.sleep(files.STEP - (self._clock() - 1) % files.STEP)
                self._round()
                if time.monotonic() - swept > SWEEP:
                    swept = time.monotonic()
                    await self.sweep()
        finally:
            for task in self._asking.values():
                task.cancel()
            await asyncio.gather(*self._asking.values(), return_exceptions=True)
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _round(self) -> None:
        for host in self._hosts():
            if host.up and host.id not in self._asking:
                task = asyncio.create_task(self._later(host), name=f"metrics of {host.name}")
                self._asking[host.id] = task
                task.add_done_callback(functools.partial(self._done, host.id))

    def _done(self, id: str, _: asyncio.Task[None]) -> None:
        self._asking.pop(id, None)

    async def _later(self, host: Asked) -> None:
        await asyncio.sleep(SPREAD * (zlib.crc32(host.id.encode()) % 1000) / 1000)
        if host.up:
            await self.collect(host)

    async def collect(self, host: Asked) -> None:
        """Ask one host for what is new, and keep it. Does not raise for a host that does not answer."""
        heard = self._heard.setdefault(host.id, _Heard())
        if self._clock() < heard.silent_until:
            return
        more = True
        while more:
            try:
                measured: Measured = await host.call(
                    "metrics", Metrics(since=heard.since, step=files.STEP), deadline=DEADLINE
                )
            except SkydeckError as bad:
                if isinstance(bad, HostFailed) and bad.code == ErrorCode.PROTOCOL.value:
                    _log.info("host %s keeps no metrics: its hostd is older", host.name)
                    heard.silent_until = self._clock() + SILENT
                return
            await asyncio.get_running_loop().run_in_executor(self._pool, self._keep, host.id, heard, measured)
            more = measured.more

    async def sweep(self) -> None:
        """Delete the rings of objects that are gone."""
        loop = asyncio.get_running_loop()
        try:
            # In this order: an object has a row before it has a ring.
            there = await loop.run_in_executor(self._pool, lambda: set(files.ids(self._config)))
            gone = there - await self._living()
            await loop.run_in_executor(self._pool, self._forget, gone)
        except (SkydeckError, OSError) as bad:
            _log.warning("metrics of deleted objects stay for now: %s", bad)

    # ------------------------------------------------------------------ in the thread

    def _keep(self, host_id: str, heard: _Heard, measured: Measured) -> None:
        try:
            guests, hosts = unpack_guests(measured.guests), unpack_host(measured.host)
        except HostError as bad:
            self._tell(f"host {host_id}: {bad}")
            return
        if heard.since > measured.at:
            heard.since = -KNOWN * SECOND  # the host's clock was set back: what it knows is before that
        ahead = measured.at - int(self._clock() * SECOND)
        # By whole steps, so that samples that were one to a step still are.
        shift = round(ahead / (files.STEP * SECOND)) * files.STEP * SECOND if abs(ahead) > SKEW else 0
        try:
            for number, sample in enumerate(guests):
                if number % TURN == 0:
                    time.sleep(0)  # the event loop may have waited for the interpreter meanwhile
                before = heard.guests.get(sample.uuid)
                heard.guests[sample.uuid] = sample
                if before and (rate := guest_rate(before, sample, longest=LONGEST)):
                    self._write(sample.uuid, rate, shift)
            for figures in hosts:
                earlier, heard.host = heard.host, figures
                if earlier and (rate := host_rate(earlier, figures, longest=LONGEST)):
                    self._write(host_id, rate, shift, host=True)
            self._tell("")
        except OSError as bad:
            self._tell(f"the metrics cannot be kept: {bad}")
        heard.since = max([heard.since, *(sample.at_us for sample in guests), *(figures.at_us for figures in hosts)])
        oldest = measured.at - LONGEST * SECOND
        heard.guests = {uuid: sample for uuid, sample in heard.guests.items() if sample.at_us >= oldest}

    def _write(self, id: str, rate: Rate, shift: int, *, host: bool = False) -> None:
        if self._writer is None:
            self._writer = files.Writer(self._config)
        self._writer.write(id, dataclasses.replace(rate, at=rate.at - shift) if shift else rate, host=host)

    def _forget(self, gone: set[str]) -> None:
        if self._writer is None:
            self._writer = files.Writer(self._config)
        for id in gone:
            self._writer.forget(id)

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            _log.warning("%s", trouble)
        self._trouble = trouble


def living(session: Session) -> set[str]:
    """Ids of all instances and hosts that are not deleted."""
    instances = session.execute(select(Instance.id).where(col(Instance.deleted_at) == 0)).scalars()
    return {*instances, *session.execute(select(Host.id)).scalars()}
