"""The sampler: what it keeps, what it answers, and what it does when sampling is dear or fails."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from hostd.metrics import Sampler, cost, keeping, sampler
from hostd.metrics.cost import Meter
from hostd.spec import ErrorCode, GuestSample, HostError, HostSample, Measured, Metrics
from hostd.spec.metrics import unpack_guests, unpack_host
from tests.hostd.metrics.samples import HOST, NOW, ONE, SECOND, TWO, guest, host


class Machine:
    """A host with a clock of its own."""

    def __init__(self, directory: Path) -> None:
        self.now = float(NOW) + 0.5
        self.running = [ONE, TWO]
        self.failing: HostError | None = None
        self.broken: OSError | None = None
        self.directory = directory
        self.passed = threading.Semaphore(0)
        self.sampler = self.again()

    def again(self) -> Sampler:
        return Sampler(
            directory=self.directory, uuid=lambda: HOST, guests=self.guests, host=self.host, clock=lambda: self.now
        )

    def guests(self) -> Iterator[GuestSample]:
        self.passed.release()
        if self.failing:
            raise self.failing
        for uuid in self.running:
            yield guest(uuid, self.now, cpu_ns=int(self.now - NOW))

    def host(self) -> HostSample:
        if self.broken:
            raise self.broken
        return host(self.now)

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.sampler.sample()
            self.now += 1

    def ask(self, since: int = 0, **asked: object) -> Measured:
        return self.sampler.measured(Metrics(since=since, **asked))  # type: ignore[arg-type]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "metrics")


def moments(measured: Measured, uuid: str = ONE) -> list[float]:
    """Seconds since NOW."""
    return [each.at_us / SECOND - NOW for each in unpack_guests(measured.guests) if each.uuid == uuid]


def test_ten_minutes_are_kept_and_answered_as_asked(machine: Machine) -> None:
    machine.run(700)
    everything = machine.ask()
    assert everything.at == int(machine.now * SECOND)
    assert moments(everything) == moments(everything, TWO) == [second + 0.5 for second in range(101, 700)]
    assert len(unpack_host(everything.host)) == 599
    assert not everything.more
    # Of one, of the host alone, of nobody; since a moment and of so long until now.
    only = machine.ask(ids=(ONE,))
    assert (moments(only), moments(only, TWO), only.host) == (moments(everything), [], "")
    assert len(unpack_host(machine.ask(ids=(HOST,)).host)) == 599
    assert machine.ask(ids=(HOST,)).guests == ""
    assert moments(machine.ask(since=(NOW + 690) * SECOND)) == [second + 0.5 for second in range(690, 700)]
    assert moments(machine.ask(since=-3 * SECOND)) == [698.5, 699.5]
    assert moments(machine.ask(since=(NOW + 9999) * SECOND)) == []
    # What was asked for by somebody who knows no names of files.
    assert machine.ask(ids=("../../etc/passwd",)).guests == ""


def test_each_step_is_answered_once_whenever_it_is_asked_for(machine: Machine) -> None:
    since, seen = -600 * SECOND, []
    for later in (7, 9, 16, 3, 10, 25, 41):
        machine.run(later)
        measured = machine.ask(since=since, step=10)
        new = moments(measured)
        seen += new
        since = max((int((NOW + at) * SECOND) for at in new), default=since)
        assert len(unpack_host(measured.host)) == len(new)
    assert seen == [10 * step + 9.5 for step in range(11)]


def test_a_killed_daemon_finds_its_rings_and_a_guest_that_went_is_forgotten_after_a_day(machine: Machine) -> None:
    machine.run(20)
    machine.sampler = machine.again()
    machine.running = [ONE]
    machine.run(5)
    assert moments(machine.ask()) == [second + 0.5 for second in range(25)]
    assert len(moments(machine.ask(), TWO)) == 20
    kept = keeping.Kept(machine.directory)
    for uuid in (ONE, TWO):
        assert (machine.directory / f"{uuid}.ring").stat().st_size == keeping.GUEST.bytes_of(keeping.SLOTS)
    written = (machine.directory / f"{TWO}.ring").stat().st_mtime
    os.utime(machine.directory / f"{ONE}.ring", (written + 60, written + 60))
    kept.sweep(written + keeping.KEPT + 1)
    assert list(kept.guests()) == [ONE]


def test_an_answer_fits_a_frame_and_the_next_goes_on(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "MOST_SAMPLES", 7)
    machine.run(10)
    since, seen, asked = 0, [], 0
    more = True
    while more:
        measured = machine.ask(since=since)
        got = unpack_guests(measured.guests)
        assert len(got) <= 7
        seen += got
        since, more, asked = got[-1].at_us, measured.more, asked + 1
    # Two guests a moment: six of seven fit.
    assert (asked, len(seen), len(set(map(str, seen)))) == (4, 20, 20)


def test_what_fails_is_said_once_and_the_rest_is_kept(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    machine.failing = HostError(ErrorCode.LIBVIRT_DOWN, "libvirtd does not answer")
    with caplog.at_level(logging.INFO, logger="hostd.metrics.sampler"):
        for _ in range(3):
            machine.sampler._pass()
            machine.now += 1
        assert len(unpack_host(machine.ask().host)) == 3
        machine.failing, machine.broken = None, OSError("no /proc")
        for _ in range(3):
            machine.sampler._pass()
            machine.now += 1
        assert moments(machine.ask()) == [3.5, 4.5, 5.5]
        # What passes at once is no news.
        machine.broken = OSError("something else")
        machine.sampler._pass()
        machine.broken = None
        for _ in range(3):
            machine.sampler._pass()
    assert [record.getMessage().partition("sampling: ")[2] for record in caplog.records] == [
        "libvirtd does not answer",
        "no /proc",
        "well again",
    ]


def test_the_thread_is_quick_while_somebody_asks_and_slow_when_passes_are_dear(machine: Machine) -> None:
    one = machine.sampler
    machine.ask()
    assert one.every == sampler.QUICK
    one._cost = 0.2
    assert one.every == pytest.approx(4.0)
    one._cost = 3.0
    assert one.every == sampler.SLOW
    one._cost, one._took = 0.0, 1.5
    assert one.every == pytest.approx(3.0)
    one._took = 0.0
    with mock.patch.object(time, "monotonic", return_value=time.monotonic() + 1e6):
        assert one.every == sampler.SLOW
    # A question wakes a slow thread at once.
    one._asked = time.monotonic() - 2 * sampler.ASKED
    one.start()
    try:
        assert not machine.passed.acquire(blocking=False)
        assert machine.ask().every == sampler.QUICK
        assert machine.passed.acquire(timeout=5)
    finally:
        one.stop()


def test_the_meter_counts_the_thread_and_its_own_libvirt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "LOOK", 0.0)

    def process(pid: int, name: str, ticks: int, namespace: str) -> None:
        (tmp_path / str(pid) / "ns").mkdir(parents=True, exist_ok=True)
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) S {' 0' * 10} {ticks} {ticks} 0 0")
        (tmp_path / str(pid) / "ns/pid").unlink(missing_ok=True)
        (tmp_path / str(pid) / "ns/pid").symlink_to(namespace)

    process(1, "systemd", 999, "pid:[1]")
    process(20, "libvirtd", 500, "pid:[2]")
    (tmp_path / "self").symlink_to("1")
    meter = Meter(tmp_path)
    assert meter.spent() == pytest.approx(time.thread_time(), abs=0.1)
    process(30, "virtqemud", 1000, "pid:[1]")
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert meter.spent() == pytest.approx(time.thread_time() + 2000 * tick, abs=0.1)
    # It ends, and another process has its number.
    process(30, "sh", 5000, "pid:[1]")
    assert meter.spent() == pytest.approx(time.thread_time(), abs=0.1)
    process(31, "libvirtd", 7, "pid:[1]")
    assert meter.spent() == pytest.approx(time.thread_time() + 14 * tick, abs=0.1)
