"""Telling hosts: coalesced, never held up by another host, tried until it is so; and what was forgotten is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from core.errors import HostFailed, Unavailable
from core.hosts import hosts
from core.network.fabric import HostNetworking, Publisher, publishing
from core.network.tables import FloatingIP, Network
from core.runner import Runner
from hostd.spec import Apply, ErrorCode, NetworkingSeen
from tests.core.network.lan import Lan
from tests.core.world import World


class _Seen:
    """As much of an observation as is read."""

    def __init__(self, generation: int) -> None:
        self.networking = NetworkingSeen(generation=generation, healthy=True)


class FakeHost:
    """Takes documents."""

    def __init__(self) -> None:
        self.up = True
        self.applied: list[Apply] = []
        self.has = 0
        self.refusals: list[HostFailed] = []
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()

    async def call(self, call: str, body: Any, *, deadline: float) -> Any:
        if not self.up:
            raise Unavailable("no route to it")
        if call == "observe":
            return _Seen(self.has)
        self.asked.set()
        await self.open.wait()
        if self.refusals:
            raise self.refusals.pop(0)
        if body.generation < self.has:
            raise HostFailed("old", code=ErrorCode.OLD_GENERATION)
        self.has = body.generation
        self.applied.append(body)
        return None


class Cloud:
    """A publisher over three such hosts."""

    def __init__(self, lan: Lan) -> None:
        self.lan = lan
        self.hosts = {host_id: FakeHost() for host_id in lan.hosts}
        self.runner = Runner(lan.world.store)
        self.publisher = Publisher(self.runner, self, lan.world.config)

    def get(self, host_id: str) -> FakeHost:
        return self.hosts[host_id]

    def host(self, number: int) -> FakeHost:
        return self.hosts[self.lan.hosts[number - 1]]

    def row(self, number: int) -> HostNetworking:
        (found,) = [row for row in self.lan.world.rows(HostNetworking) if row.host_id == self.lan.hosts[number - 1]]
        return found  # type: ignore[no-any-return]

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not happened():
                await self.publisher.look()
                await asyncio.sleep(0.005)

    def told(self, *numbers: int) -> bool:
        return all(self.row(number).applied == self.row(number).generation for number in numbers)


@pytest.fixture
async def cloud(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cloud]:
    monkeypatch.setattr(publishing, "FIRST_BACKOFF", 0.005)
    monkeypatch.setattr(publishing, "LONGEST_BACKOFF", 0.02)
    lan = Lan(world, hosts=3)
    lan.network()
    made = Cloud(lan)
    yield made
    await made.publisher.stop()
    made.runner.close()


async def test_many_changes_become_few_documents(cloud: Cloud) -> None:
    for host in cloud.hosts.values():
        host.open.clear()
    cloud.lan.guest(host=1)
    await cloud.until(cloud.host(1).asked.is_set)
    made = [cloud.lan.guest(host=number % 3 + 1) for number in range(30)]
    for host in cloud.hosts.values():
        host.open.set()
    await cloud.until(lambda: cloud.told(1, 2, 3))
    assert all(len(host.applied) <= 3 for host in cloud.hosts.values())
    assert {cloud.lan.status(port) for port in made} == {"ACTIVE"}
    assert len(cloud.host(2).applied[-1].spec["ports"]) == 10


async def test_a_hanging_host_and_a_dead_one_delay_nobody(cloud: Cloud) -> None:
    cloud.host(2).open.clear()
    cloud.host(3).up = False
    for number in (1, 2, 3):
        cloud.lan.guest(host=number)
    await cloud.until(lambda: cloud.told(1))
    assert not cloud.told(2)
    assert not cloud.told(3)
    cloud.lan.guest(host=1)
    await cloud.until(lambda: cloud.told(1))
    cloud.host(2).open.set()
    cloud.host(3).up = True
    await cloud.until(lambda: cloud.told(1, 2, 3))


async def test_a_publish_waits_for_its_own_host_alone(cloud: Cloud) -> None:
    cloud.host(2).open.clear()
    cloud.lan.guest(host=2)
    port = cloud.lan.guest(host=1)
    await cloud.publisher.publish(cloud.lan.hosts[0])
    assert cloud.lan.status(port) == "DOWN", "the other host still has to hear of it"
    sent = len(cloud.host(1).applied)
    await cloud.publisher.publish(cloud.lan.hosts[0])
    assert len(cloud.host(1).applied) == sent, "it has it"
    cloud.host(2).open.set()
    await cloud.until(lambda: cloud.lan.status(port) == "ACTIVE")


async def test_a_generation_that_somebody_else_gave_is_overtaken(cloud: Cloud) -> None:
    cloud.lan.guest(host=1)
    cloud.host(1).refusals.append(HostFailed("another document", code=ErrorCode.CONFLICT))
    await cloud.publisher.publish(cloud.lan.hosts[0])
    assert (cloud.row(1).applied, cloud.row(1).error) == (2, None)
    cloud.host(1).has = 50  # the database was set back
    cloud.lan.guest(host=1)
    await cloud.publisher.publish(cloud.lan.hosts[0])
    assert cloud.row(1).applied == cloud.host(1).has == 51


async def test_two_that_overtake_each_other_give_up_for_now(cloud: Cloud) -> None:
    cloud.lan.guest(host=1)
    cloud.host(1).refusals = [HostFailed("no", code=ErrorCode.CONFLICT) for _ in range(publishing.MOST_TRIES)]
    with pytest.raises(HostFailed, match="by somebody else") as refused:
        await cloud.publisher.publish(cloud.lan.hosts[0])
    assert refused.value.transient


async def test_why_a_host_refuses_is_kept_and_shown_until_it_does_not(cloud: Cloud) -> None:
    cloud.lan.outside()
    cloud.lan.router("r", "lan", external_gateway="public")
    cloud.lan.floating(port=cloud.lan.guest(host=1).id)
    cloud.host(1).refusals.append(HostFailed("no such interface eth1", hint="look", code="network"))
    with pytest.raises(HostFailed, match="eth1"):
        await cloud.publisher.publish(cloud.lan.hosts[0])
    error = cloud.row(1).error or {}
    assert (error["title"], error["hint"]) == ("no such interface eth1", "look")
    (floating,) = cloud.lan.world.rows(FloatingIP)
    assert floating.status == "ERROR"
    await cloud.until(lambda: cloud.told(1))
    (floating,) = cloud.lan.world.rows(FloatingIP)
    assert (cloud.row(1).error, floating.status) == (None, "ACTIVE")


async def test_an_engine_that_was_replaced_blames_no_host(cloud: Cloud) -> None:
    cloud.lan.guest(host=1)
    cloud.host(1).refusals.append(HostFailed("an older term", code=ErrorCode.STALE_CONTROLLER))
    with pytest.raises(HostFailed):
        await cloud.publisher.publish(cloud.lan.hosts[0])
    assert cloud.row(1).error is None


async def test_a_change_that_told_nobody_is_noticed(cloud: Cloud) -> None:
    cloud.lan.guest(host=1)
    await cloud.until(lambda: cloud.told(1))
    await cloud.until(lambda: not cloud.publisher.busy)
    with cloud.lan.world.store.write() as session:
        session.execute(update(Network).where(col(Network.name) == "lan").values(mtu=1400))
    cloud.host(1).up = False
    await cloud.publisher.look()
    cloud.host(1).up = True
    await cloud.until(lambda: cloud.host(1).applied[-1].spec["networks"][0]["mtu"] == 1400)


async def test_what_a_host_lacks_is_said_though_it_took_the_document(cloud: Cloud) -> None:
    cloud.lan.do(hosts.update_host, "h1", vtep="", physnets={})
    cloud.lan.guest(host=1)
    await cloud.until(lambda: cloud.told(1))
    assert cloud.row(1).error is None, "alone it needs none"
    cloud.lan.guest(host=2)
    await cloud.until(lambda: cloud.told(1, 2))
    error = cloud.row(1).error or {}
    assert "host h1 has no tunnel endpoint" in error["title"]
    assert error["hint"] == "skydeck host set --vtep ADDRESS h1"
    cloud.lan.do(hosts.update_host, "h1", vtep="192.168.100.1")
    cloud.lan.outside()
    cloud.lan.router("r", "lan", external_gateway="public")
    await cloud.until(lambda: cloud.told(1, 2))
    assert "no way to physical network ext" in (cloud.row(1).error or {})["title"]
