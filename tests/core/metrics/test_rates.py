"""From counters to rates: nothing that restarts, jumps or is missing may ever look like work."""

from __future__ import annotations

import itertools

import attrs
from hypothesis import given
from hypothesis import strategies as st

from core.metrics.rates import GUEST_COUNTERS, Rate, guest_rate, host_rate, to_series
from hostd.spec import GuestSample
from tests.hostd.metrics.samples import NOW, SECOND, guest, host

LONGEST = 35.0
CPU = 800_000_000
"""Nanoseconds a second, of one vCPU."""
OTHERS = 1_000_000
"""A second, of every other counter."""


@st.composite
def lives(draw: st.DrawFn) -> list[GuestSample]:
    """A guest that works evenly, is started anew now and then, and is not looked at all the time."""
    at, samples = NOW, []
    counters = dict.fromkeys(GUEST_COUNTERS, 0)
    for _ in range(draw(st.integers(2, 30))):
        seconds = draw(st.integers(1, 60))
        at += seconds
        lived = seconds
        if draw(st.integers(0, 4)) == 0:
            counters = dict.fromkeys(GUEST_COUNTERS, 0)
            lived = draw(st.integers(0, seconds))  # it was off for a while
        counters = {name: count + lived * (CPU if name == "cpu_ns" else OTHERS) for name, count in counters.items()}
        samples.append(guest(at=at, **counters))
    return samples


@given(lives())
def test_a_guest_that_starts_anew_never_shows_a_spike(samples: list[GuestSample]) -> None:
    for before, after in itertools.pairwise(samples):
        rate = guest_rate(before, after, longest=LONGEST)
        if rate is None:
            continue
        assert after.at_us - before.at_us <= LONGEST * SECOND
        assert rate.cpu <= 80.0 + 1e-6
        for value in (rate.disk_read, rate.disk_write, rate.net_rx, rate.net_tx):
            assert 0 <= value <= OTHERS + 1e-6


def test_what_a_rate_is() -> None:
    before = guest(at=NOW, cpu_ns=1_000_000_000, vcpus=2, disk_read_bytes=100, net_tx_bytes=5)
    after = guest(
        at=NOW + 10,
        cpu_ns=11_000_000_000,
        vcpus=2,
        memory_used=96 << 20,
        disk_read_bytes=1100,
        disk_write_bytes=50,
        net_rx_bytes=20,
        net_tx_bytes=35,
        memory_guest=False,
    )
    rate = guest_rate(before, after, longest=LONGEST)
    assert rate == Rate(
        at=(NOW + 10) * SECOND,
        cpu=50.0,
        memory_used=96 << 20,
        memory_max=128 << 20,
        memory_guest=False,
        disk_read=100.0,
        disk_write=5.0,
        net_rx=2.0,
        net_tx=3.0,
    )
    assert rate.memory == 75.0
    # Emulation counts as the guest's: no more than all of it is busy.
    busy = attrs.evolve(after, cpu_ns=99_000_000_000)
    assert getattr(guest_rate(before, busy, longest=LONGEST), "cpu", None) == 100.0
    for name in GUEST_COUNTERS:
        backwards = attrs.evolve(after, **{name: getattr(before, name) - 1})
        assert guest_rate(before, backwards, longest=LONGEST) is None
    # The same moment, one before, one too long ago.
    for later in (0, -1, 36):
        assert guest_rate(before, attrs.evolve(after, at_us=(NOW + later) * SECOND), longest=LONGEST) is None


def test_what_a_hosts_rate_is() -> None:
    before, after = host(NOW, net_rx_bytes=10), host(NOW + 1, cpu_busy_ns=1_000_000_000, net_rx_bytes=30)
    rate = host_rate(before, after, longest=LONGEST)
    assert rate is not None
    assert (rate.cpu, rate.memory, rate.net_rx) == (25.0, 25.0, 20.0)
    assert (rate.disk_used, rate.disk_total, rate.disk_read) == (10 << 30, 100 << 30, 0.0)
    assert host_rate(after, attrs.evolve(before, at_us=(NOW + 2) * SECOND), longest=LONGEST) is None


def _rate(second: int, cpu: float) -> Rate:
    return Rate(at=(NOW + second) * SECOND, cpu=cpu, memory_used=1, memory_max=2, memory_guest=True, net_rx=0, net_tx=0)


def test_a_series_of_few_points_holds_means_and_keeps_its_gaps() -> None:
    rates = [_rate(10 * step, float(step)) for step in range(100) if not 40 <= step < 60]
    whole = to_series(rates, step=10)
    assert len(whole.at) == len(whole.cpu) == len(whole.disk_total) == 80
    assert whole.memory[0] == 50.0
    few = to_series(rates, step=10, points=10)
    assert len(few.at) == 8
    assert few.cpu[:2] == (4.5, 14.5)
    assert few.step == 99.0
    assert max(later - earlier for earlier, later in zip(few.at, few.at[1:], strict=False)) == 300 * SECOND
    assert to_series([], step=10).at == ()
    assert to_series(rates[:1], step=10, points=1).cpu == (0.0,)
