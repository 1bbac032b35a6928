"""From counters to rates. Pure.

Counters begin at zero again when a guest is started anew or a disk leaves it; whatever went backwards is no rate, and
the next sample begins anew. So is what lies too far apart: a mean over an hour would tell of a rate that never was.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Iterable, Sequence

from hostd.spec.metrics import GuestSample, HostSample

SECOND = 1_000_000

GUEST_COUNTERS = (
    "cpu_ns",
    "disk_read_bytes",
    "disk_write_bytes",
    "disk_read_ops",
    "disk_write_ops",
    "net_rx_bytes",
    "net_tx_bytes",
    "net_rx_packets",
    "net_tx_packets",
)
HOST_COUNTERS = ("cpu_busy_ns", "net_rx_bytes", "net_tx_bytes")
_guest_counters = operator.attrgetter(*GUEST_COUNTERS)
_host_counters = operator.attrgetter(*HOST_COUNTERS)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """What one object used from one sample to the next. Of a host the disk's rates are zero, of a guest its room."""

    at: int
    """The later one's moment, in microseconds since the epoch."""
    cpu: float
    """Per cent of all its CPUs: 100 is all of them busy."""
    memory_used: float
    """Bytes."""
    memory_max: float
    memory_guest: bool
    """See GuestSample; true of hosts."""
    disk_read: float = 0.0
    """Bytes a second."""
    disk_write: float = 0.0
    net_rx: float
    net_tx: float
    disk_used: float = 0.0
    """Bytes."""
    disk_total: float = 0.0

    @property
    def memory(self) -> float:
        """Per cent of what it may use."""
        return percent(self.memory_used, self.memory_max)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latest:
    """How an object does now."""

    cpu_percent: float
    """Of all its CPUs."""
    memory_percent: float
    memory_used: float
    """Bytes."""
    memory_max: float
    memory_guest: bool
    """Whether the guest itself tells; else it is what the host keeps resident for it."""
    disk_rate: float
    """Bytes a second, read and written; 0 for a host."""
    net_rate: float
    """Bytes a second, both ways."""
    disk_percent: float | None
    """How full a host's disk is; None for a guest."""
    trend: tuple[float, ...]
    """cpu_percent of at most 32 steps that follow each other, oldest first; the last one is cpu_percent."""
    at: int
    """Microseconds since the epoch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """An object's use over time. All tuples are as long as `at`; what was not collected is not there, so plot over
    `at`. Disk rates are zero of a host, room and its use are zero of a guest."""

    at: tuple[int, ...] = ()
    """Microseconds since the epoch, growing."""
    step: float = 0.0
    """Seconds between two points where nothing is missing."""
    cpu: tuple[float, ...] = ()
    """Per cent of all its CPUs."""
    memory: tuple[float, ...] = ()
    """Per cent of what it may use."""
    memory_used: tuple[float, ...] = ()
    """Bytes."""
    memory_max: tuple[float, ...] = ()
    memory_guest: bool = True
    """Of the newest point: see Latest."""
    disk_read: tuple[float, ...] = ()
    """Bytes a second."""
    disk_write: tuple[float, ...] = ()
    net_rx: tuple[float, ...] = ()
    net_tx: tuple[float, ...] = ()
    disk_used: tuple[float, ...] = ()
    """Bytes."""
    disk_total: tuple[float, ...] = ()


_COLUMNS = (
    "cpu",
    "memory",
    "memory_used",
    "memory_max",
    "disk_read",
    "disk_write",
    "net_rx",
    "net_tx",
    "disk_used",
    "disk_total",
)


def percent(part: float, whole: float) -> float:
    """0 where there is nothing to have a part of; never above 100."""
    return min(100.0, 100.0 * part / whole) if whole > 0 else 0.0


def guest_rate(before: GuestSample, after: GuestSample, *, longest: float) -> Rate | None:
    """None when they are more than `longest` seconds apart, in the wrong order, or a counter began anew between."""
    seconds = _seconds(before.at_us, after.at_us, longest)
    if seconds is None or any(map(operator.lt, _guest_counters(after), _guest_counters(before))):
        return None
    return Rate(
        at=after.at_us,
        cpu=percent(after.cpu_ns - before.cpu_ns, seconds * 1e9 * max(1, after.vcpus)),
        memory_used=float(after.memory_used),
        memory_max=float(after.memory_max),
        memory_guest=after.memory_guest,
        disk_read=(after.disk_read_bytes - before.disk_read_bytes) / seconds,
        disk_write=(after.disk_write_bytes - before.disk_write_bytes) / seconds,
        net_rx=(after.net_rx_bytes - before.net_rx_bytes) / seconds,
        net_tx=(after.net_tx_bytes - before.net_tx_bytes) / seconds,
    )


def host_rate(before: HostSample, after: HostSample, *, longest: float) -> Rate | None:
    """As guest_rate."""
    seconds = _seconds(before.at_us, after.at_us, longest)
    if seconds is None or any(map(operator.lt, _host_counters(after), _host_counters(before))):
        return None
    return Rate(
        at=after.at_us,
        cpu=percent(after.cpu_busy_ns - before.cpu_busy_ns, seconds * 1e9 * max(1, after.cpus)),
        memory_used=float(after.memory_used),
        memory_max=float(after.memory_total),
        memory_guest=True,
        net_rx=(after.net_rx_bytes - before.net_rx_bytes) / seconds,
        net_tx=(after.net_tx_bytes - before.net_tx_bytes) / seconds,
        disk_used=float(after.disk_used),
        disk_total=float(after.disk_total),
    )


def _seconds(before: int, after: int, longest: float) -> float | None:
    seconds = (after - before) / SECOND
    return seconds if 0 < seconds <= longest else None


def to_series(rates: Sequence[Rate], *, step: float, points: int | None = None) -> Series:
    """Points in order; at most `points` of them, each then the mean of some that follow each other."""
    if not rates:
        return Series(step=step)
    groups = [[rate] for rate in rates] if points is None else list(_groups(rates, points))
    if points is not None:
        step = max(step, (rates[-1].at - rates[0].at) / SECOND / points)
    columns = {
        name: tuple(math.fsum(getattr(rate, name) for rate in group) / len(group) for group in groups)
        for name in _COLUMNS
    }
    return Series(at=tuple(group[-1].at for group in groups), step=step, memory_guest=rates[-1].memory_guest, **columns)


def _groups(rates: Sequence[Rate], points: int) -> Iterable[list[Rate]]:
    """By time and not by number: a gap stays a gap."""
    began, ended = rates[0].at, rates[-1].at
    width = max(1, math.ceil((ended - began + 1) / max(1, points)))
    group: list[Rate] = []
    for rate in rates:
        if group and (rate.at - began) // width != (group[-1].at - began) // width:
            yield group
            group = []
        group.append(rate)
    yield group
