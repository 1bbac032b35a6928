"""A live view through the engine's door: who may have one, and what it shows second by second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core import door
from core.config import Config
from core.context import Context
from core.doorkeeper import Doorkeeper
from core.errors import Forbidden, HostFailed, NotFound, Unavailable
from core.metrics.live import LONGEST_SPAN, Live
from core.runner import Runner
from core.store import Store
from tests.core.metrics.test_collect import Station
from tests.core.world import World


class Hosts:
    """The pool, with one host."""

    def __init__(self, station: Station) -> None:
        self.station = station

    def get(self, host_id: str) -> Any:
        if host_id != self.station.id:
            raise Unavailable(f"host {host_id} is not connected")
        return self.station


class Cloud:
    """A guest on a host, and a door to look at it through."""

    def __init__(self, world: World, tmp_path: Path) -> None:
        self.world = world
        self.station = Station(tmp_path / "station", id=world.host())
        world.image()
        self.instance = world.settled()
        self.station.load = {self.instance.id: 0.5}
        self.runner = Runner(world.store)
        self.keeper = Doorkeeper(self.runner, Hosts(self.station), world.config.run_dir / door.SOCKET)  # type: ignore[arg-type]

    def ticket(self, id: str, ctx: Context | None = None) -> str:
        with self.world.store.write() as session:
            return door.metrics_ticket(session, ctx or self.world.admin, id)

    async def look(self, id: str) -> Live:
        return await door.metrics(self.world.config, self.ticket(id))


@pytest.fixture
async def cloud(config: Config, store: Store, world: World, tmp_path: Path) -> AsyncIterator[Cloud]:
    config.run_dir.mkdir(parents=True, exist_ok=True)
    cloud = Cloud(world, tmp_path)
    await cloud.keeper.start()
    yield cloud
    await cloud.keeper.stop()
    cloud.runner.close()


async def test_a_view_goes_on_second_by_second_over_one_connection(cloud: Cloud) -> None:
    cloud.station.run(700)
    view = await cloud.look(cloud.instance.id)
    first = await view.read(60)
    assert (len(first.at), set(first.cpu), first.step) == (60, {50.0}, 1.0)
    assert 596 <= len((await view.read(9999)).at) < LONGEST_SPAN
    asked = len(cloud.station.asked)
    cloud.station.run(3)
    later = await view.read(60)
    assert later.at[-1] - first.at[-1] == 3_000_000
    assert len(later.at) == 60
    # Only what is new was asked for, of this guest alone.
    (question,) = cloud.station.asked[asked:]
    assert (question.since, question.ids, question.step) == (first.at[-1], (cloud.instance.id,), 1)
    # Two looks at once are answered one after the other.
    cloud.station.run(1)
    assert {len(series.at) for series in await asyncio.gather(view.read(10), view.read(10))} == {10}
    # A page that is left in the middle of a look comes back to a view in step.
    cloud.station.run(1)
    left = asyncio.create_task(view.read(10))
    await asyncio.sleep(0)
    left.cancel()
    cloud.station.run(1)
    again = await view.read(10)
    assert again.at == tuple(sorted(set(again.at)))
    assert (len(again.at), again.at[-1]) == (10, int(cloud.station.now * 1e6))
    # A host that does not answer is told, and the view stays.
    cloud.station.failing = HostFailed("host h1: it is too busy", hint="Wait.")
    with pytest.raises(Unavailable, match="too busy"):
        await view.read(10)
    cloud.station.failing = HostFailed("host h1: unknown call metrics", code="protocol")
    with pytest.raises(Unavailable, match="hostd is older"):
        await view.read(10)
    cloud.station.failing, cloud.station.up = None, False
    with pytest.raises(Unavailable, match="not connected"):
        await view.read(10)
    cloud.station.up = True
    assert (await view.read(10)).at
    await view.close()
    # The guest is off: what was stays for as long as it is not too long ago.
    host = await cloud.look(cloud.station.id)
    cloud.station.load = {}
    cloud.station.run(5)
    series = await host.read(60)
    assert (set(series.disk_read), set(series.disk_total)) == ({0.0}, {100 << 30})
    # Without an engine no view.
    await cloud.keeper.stop()
    await host.close()
    with pytest.raises(Unavailable):
        await host.read(10)
    with pytest.raises(Unavailable, match="engine is not running"):
        await door.metrics(cloud.world.config, "any")


async def test_a_ticket_is_for_those_who_may_see_the_object(cloud: Cloud) -> None:
    reader = cloud.world.someone("reader", project="elsewhere")
    with pytest.raises(NotFound):
        cloud.ticket(cloud.instance.id, reader)
    with pytest.raises(Forbidden):
        cloud.ticket(cloud.station.id, reader)
    with pytest.raises(NotFound):
        cloud.ticket("00000000-0000-4000-8000-000000000000")
    own = cloud.world.someone("reader", project="admin")
    ticket = cloud.ticket(cloud.instance.id, own)
    cloud.station.run(3)
    view = await door.metrics(cloud.world.config, ticket)
    assert len((await view.read(60)).at) == 2
    await view.close()
    with pytest.raises(NotFound, match="not valid"):
        await door.metrics(cloud.world.config, ticket)
    # Moved to nowhere, or to a host that is not there.
    view = await cloud.look(cloud.instance.id)
    cloud.world.change(cloud.instance.id, host_id=None)
    with pytest.raises(Unavailable, match="on no host"):
        await view.read(10)
    await view.close()
