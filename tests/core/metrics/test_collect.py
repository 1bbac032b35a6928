"""The engine's collector, against hosts whose sampler is the real one: what ends up in the rings, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from core import metrics
from core.config import Config
from core.errors import HostFailed, Unavailable
from core.metrics import collect, files
from core.metrics.collect import Collector
from hostd.metrics import Sampler
from hostd.spec import GuestSample, Metrics, load
from hostd.spec import dump as dumped
from tests.core.world import World
from tests.hostd.metrics.samples import HOST, NOW, ONE, SECOND, TWO, guest, host


class Station:
    """A host with guests that work evenly, and a clock."""

    def __init__(self, directory: Path, *, id: str = HOST) -> None:
        self.id = id
        self.name = "h1"
        self.up = True
        self.now = float(NOW) + 0.5
        self.skew = 0.0
        self.load = {ONE: 0.5, TWO: 0.25}
        self.counted: dict[str, GuestSample] = {}
        self.failing: Exception | None = None
        self.asked: list[Metrics] = []
        self.sampler = Sampler(
            directory=directory,
            uuid=lambda: id,
            guests=self._guests,
            host=lambda: host(self.here, cpu_busy_ns=int((self.now - NOW) * 1e9)),
            clock=lambda: self.here,
        )

    @property
    def here(self) -> float:
        return self.now + self.skew

    def _guests(self) -> list[GuestSample]:
        for uuid, share in self.load.items():
            before = self.counted.get(uuid, guest(uuid))
            self.counted[uuid] = attrs.evolve(
                before,
                at_us=int(self.here * SECOND),
                cpu_ns=before.cpu_ns + int(share * 1e9),
                disk_write_bytes=before.disk_write_bytes + 1000,
                net_rx_bytes=before.net_rx_bytes + 10,
            )
        return [self.counted[uuid] for uuid in self.load]

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.sampler.sample()

    async def call(self, call: str, body: Any, *, deadline: float) -> Any:
        assert call == "metrics"
        self.asked.append(body)
        if self.failing:
            raise self.failing
        return self.sampler.measured(load(Metrics, dumped(body)))


class Cloud:
    def __init__(self, config: Config, *stations: Station) -> None:
        self.config = config
        self.stations = list(stations)
        self.collector = self.again()
        self.live = {ONE, TWO, HOST}

    def again(self) -> Collector:
        async def living() -> set[str]:
            return self.live

        return Collector(self.config, lambda: self.stations, living=living, clock=lambda: self.stations[0].now)

    async def pass_by(self, seconds: int, *, every: int = 10) -> None:
        """Time, with the collector asking as it does."""
        for _ in range(seconds // every):
            for station in self.stations:
                station.run(every)
                await self.collector.collect(station)

    @property
    def now(self) -> int:
        return int(self.stations[0].now * SECOND)

    def series(self, id: str, span_s: int = 3600) -> metrics.Series:
        return metrics.series(self.config, id, span_s=span_s, now=self.now)

    def latest(self, *ids: str) -> dict[str, metrics.Latest]:
        return metrics.latest(self.config, ids, now=self.now)


@pytest.fixture
def place(tmp_path: Path) -> Config:
    return Config(home=tmp_path / "home", database_url="")


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return Station(tmp_path / "host")


@pytest.fixture
def cloud(place: Config, station: Station) -> Cloud:
    return Cloud(place, station)


async def test_one_call_brings_all_guests_and_lists_and_pages_read_it(cloud: Cloud, station: Station) -> None:
    await cloud.pass_by(1000)
    assert len(station.asked) == 100
    latest = cloud.latest(ONE, TWO, HOST, "00000000-0000-4000-8000-000000000000", "no id at all", "../../x")
    assert set(latest) == {ONE, TWO, HOST}
    assert latest[ONE].cpu_percent == latest[ONE].trend[-1] == 50.0
    assert latest[TWO].trend == (25.0,) * 32
    assert (latest[ONE].disk_rate, latest[ONE].net_rate) == (1000.0, 10.0)
    assert (latest[ONE].memory_percent, latest[ONE].disk_percent) == (50.0, None)
    assert (latest[HOST].cpu_percent, latest[HOST].memory_percent, latest[HOST].disk_percent) == (25.0, 25.0, 10.0)
    assert 0 <= cloud.now - latest[ONE].at <= 20 * SECOND
    series = cloud.series(ONE)
    assert 97 <= len(series.at) <= 99
    assert {later - earlier for earlier, later in zip(series.at, series.at[1:], strict=False)} == {10 * SECOND}
    assert (set(series.cpu), set(series.disk_write), series.step) == ({50.0}, {1000.0}, 10)
    assert set(cloud.series(HOST).disk_total) == {100 << 30}
    assert len(cloud.series(ONE, 60).at) in (5, 6)
    # What stopped being told is not how it does now.
    station.now += 60
    assert cloud.latest(ONE) == {}


async def test_what_was_missed_is_fetched_and_what_is_lost_stays_a_gap(cloud: Cloud, station: Station) -> None:
    await cloud.pass_by(100)
    # Not asked for five minutes: the engine was ended, and another one begins.
    station.run(300)
    cloud.collector = cloud.again()
    await cloud.pass_by(100)
    assert len(cloud.series(ONE).at) >= 48
    # Half an hour without: the host knows the last ten minutes of it.
    station.run(1800)
    await cloud.pass_by(100)
    series = cloud.series(ONE)
    gaps = [later - earlier for earlier, later in zip(series.at, series.at[1:], strict=False)]
    assert sum(gap > 10 * SECOND for gap in gaps) == 1
    assert 1190 * SECOND <= max(gaps) <= 1230 * SECOND
    assert set(series.cpu) == {50.0}
    # The trend is what followed without a gap.
    assert len(cloud.latest(ONE)[ONE].trend) == 32


async def test_restarts_of_guest_and_hostd_show_no_spike(cloud: Cloud, station: Station, tmp_path: Path) -> None:
    await cloud.pass_by(100)
    del station.counted[ONE]
    await cloud.pass_by(100)
    station.sampler = Station(tmp_path / "host").sampler
    station.sampler._guests, station.sampler._clock = station._guests, lambda: station.here
    station.sampler._host = lambda: host(station.here)
    await cloud.pass_by(100)
    series = cloud.series(ONE)
    assert set(series.cpu) == {50.0}
    assert len(series.at) >= 26


async def test_a_host_whose_clock_is_wrong_is_dated_by_ours(cloud: Cloud, station: Station) -> None:
    station.skew = -7203.0
    await cloud.pass_by(200)
    assert cloud.latest(ONE)[ONE].cpu_percent == 50.0
    assert len(cloud.series(ONE, 200).at) >= 18
    # Somebody sets it right, and then far back.
    station.skew = 0.0
    await cloud.pass_by(100)
    station.skew = -90000.0
    await cloud.pass_by(100)
    assert cloud.latest(ONE)[ONE].cpu_percent == 50.0


async def test_a_host_that_knows_no_metrics_is_left_alone_for_a_while(cloud: Cloud, station: Station) -> None:
    station.failing = HostFailed("unknown call metrics", code="protocol")
    await cloud.pass_by(100)
    assert len(station.asked) == 1
    station.now += collect.SILENT
    station.failing = Unavailable("it went away")
    await cloud.pass_by(30)
    assert len(station.asked) == 4
    assert not files.directory(cloud.config).exists()


async def test_hosts_are_asked_side_by_side_and_dead_or_slow_ones_cost_nothing(
    place: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "SPREAD", 0.0)
    stations = [Station(tmp_path / str(number), id=f"{HOST[:-1]}{number}") for number in range(4)]
    quick, slow, dead, other = stations
    dead.up = False
    cloud = Cloud(place, *stations)
    released, asked = asyncio.Event(), asyncio.Queue[str]()

    def answering(station: Station, call: Callable[..., Any]) -> Callable[..., Any]:
        async def answer(*given: Any, **named: Any) -> Any:
            asked.put_nowait(station.id)
            if station is slow:
                await released.wait()
            return await call(*given, **named)

        return answer

    for station in stations:
        station.run(30)
        station.call = answering(station, station.call)  # type: ignore[method-assign]
    running = asyncio.create_task(cloud.collector.run())
    try:
        # A moment before the collector's round, again and again, by its clock; the slow one does not answer.
        quick.now = NOW + 60.99
        assert {await asked.get() for _ in range(3)} == {quick.id, slow.id, other.id}
        assert {await asked.get() for _ in range(2)} == {quick.id, other.id}
        released.set()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert dead.asked == []
    assert other.asked


async def test_the_disk_that_is_used_stays_bounded(
    cloud: Cloud, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "DAYS_AT_MOST", 2)
    await cloud.pass_by(40)
    sizes = sorted(path.stat().st_size for path in files.directory(cloud.config).rglob("*.ring"))
    assert sizes == [files.SHAPE.bytes_of(files.HOUR), *[files.SHAPE.bytes_of(files.DAY)] * 2]
    # Deleted objects make room.
    cloud.live = {HOST}
    station.load = {}
    await cloud.pass_by(20)
    await cloud.collector.sweep()
    assert set(files.ids(cloud.config)) == {HOST}
    station.load = {TWO: 0.25}
    await cloud.pass_by(40)
    assert len(list(files.ids(cloud.config))) == 2
    assert cloud.series(TWO).cpu


async def test_a_home_that_cannot_be_written_is_told_once(
    cloud: Cloud, station: Station, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.config.home.parent.mkdir(exist_ok=True)
    cloud.config.home.write_text("a file where the directory should be")
    await cloud.pass_by(60)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["the metrics cannot be kept"]
    cloud.config.home.unlink()
    await cloud.pass_by(30)
    assert cloud.latest(ONE)[ONE].cpu_percent == 50.0


def test_living_are_instances_and_hosts_that_are_not_deleted(world: World) -> None:
    host_id = world.host()
    world.image()
    one, two = world.settled(), world.settled(name="gone")
    world.change(two.id, deleted_at=1)
    with world.store.read() as session:
        assert collect.living(session) == {host_id, one.id}
