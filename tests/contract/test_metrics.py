"""The call `metrics`, of every kind of host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import attrs
import pytest

from hostd.spec import PROTOCOL, STATUS, Apply, Hello, Measured, Metrics, ObjectKind, Receive, Want, dump
from hostd.spec.metrics import unpack_guests, unpack_host
from tests.contract.hosts import CLOUD, HOSTS, Host, Peer, greeted
from tests.contract.test_contract import GUEST, IMAGE, IMAGE_DIGEST

PATIENCE = 20.0


@pytest.fixture(params=sorted(HOSTS))
async def host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Host]:
    async with HOSTS[request.param](tmp_path) as host:
        yield host


async def measured(peer: Peer, enough: Callable[[Measured], bool], asked: Metrics) -> Measured:
    async with asyncio.timeout(PATIENCE):
        while True:
            answer: Measured = await peer.call("metrics", asked)
            if enough(answer):
                return answer
            await asyncio.sleep(0.05)


async def test_guests_and_the_host_itself_are_measured_and_a_kill_forgets_nothing(host: Host) -> None:
    peer = await greeted(host)
    await peer.send_image(Receive(digest=IMAGE_DIGEST, size=len(IMAGE)), IMAGE)
    await peer.call("apply", Apply(kind=ObjectKind.INSTANCE, uuid=GUEST.uuid, generation=1, spec=dump(GUEST)))
    everything = Metrics(since=0)
    both = await measured(peer, lambda answer: len(unpack_guests(answer.guests)) >= 2, everything)
    first, second = unpack_guests(both.guests)[:2]
    assert first.uuid == second.uuid == GUEST.uuid
    assert first.at_us < second.at_us <= both.at
    assert first.cpu_ns < second.cpu_ns
    assert 0 < second.memory_used <= second.memory_max
    assert both.every >= 1
    figures = unpack_host(both.host)
    assert len(figures) >= 2
    assert all(0 < each.memory_used < each.memory_total and each.cpus > 0 for each in figures)

    await host.restart()
    # Only looking is enough; so is a controller that a newer one has outdated.
    peer = await host.connect()
    await peer.call("hello", Hello(protocol=PROTOCOL, cloud="another", term=0, host=None, purpose=STATUS))
    kept = await peer.call("metrics", everything)
    assert unpack_guests(kept.guests)[0] == first

    peer = await greeted(host, cloud=CLOUD)
    off = attrs.evolve(GUEST, want=Want.STOPPED)
    await peer.call("apply", Apply(kind=ObjectKind.INSTANCE, uuid=GUEST.uuid, generation=2, spec=dump(off)))
    now = Metrics(since=(await peer.call("metrics", everything)).at + 1_000_000)
    later = await measured(peer, lambda answer: bool(unpack_host(answer.host)), now)
    assert unpack_guests(later.guests) == []
