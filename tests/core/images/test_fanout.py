"""One image for many hosts: who gives it to whom, and how many turns that takes."""

from __future__ import annotations

import asyncio
from typing import Any

from core.errors import HostFailed, Unavailable
from core.images.fanout import AT_ONCE, SMALLEST, FanOut, Way
from hostd.spec import Act, Acted

DIGEST = "ab" * 32


class Turns:
    """A clock of turns: a copy takes one."""

    def __init__(self) -> None:
        self.turn = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def one(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    async def run(self, work: asyncio.Future[Any]) -> None:
        while not work.done():
            for _ in range(50):
                await asyncio.sleep(0)
            waiting, self._waiting = self._waiting, []
            if waiting:
                self.turn += 1
            for future in waiting:
                future.set_result(None)


class Peer:
    def __init__(self, name: str, net: Net) -> None:
        self.id = self.name = name
        self.way: Way | None = Way(address=name, port=22, host_key="k")
        self.up = True
        self.holds = False
        self.gives = 0
        self.most = 0
        self.offers: set[str] = set()
        self._net = net

    def has_image(self, digest: str) -> bool:
        return self.holds

    def got_image(self, digest: str) -> None:
        self.holds = True

    async def call(self, call: str, body: Act, *, deadline: float) -> Acted:
        if not self.up:
            raise Unavailable("down")
        args = body.args
        if body.verb == "image_offer":
            self.offers.add(args["copy"])
        if body.verb == "image_withdraw":
            self.offers.discard(args["copy"])
        if body.verb == "image_take":
            giver = self._net.peers[args["address"]]
            if (giver.name, self.name) in self._net.cut or not giver.holds:
                raise HostFailed("no route")
            assert args["copy"] in giver.offers
            giver.gives += 1
            giver.most = max(giver.most, giver.gives)
            await self._net.turns.one()
            giver.gives -= 1
            self._net.copies.append((giver.name, self.name))
        return Acted(request=body.request, detail={"public_key": "k"})


class Net:
    def __init__(self, count: int) -> None:
        self.turns = Turns()
        self.peers = {f"h{number}": Peer(f"h{number}", self) for number in range(count)}
        self.copies: list[tuple[str, str]] = []
        self.cut: set[tuple[str, str]] = set()
        self.carrying = self.most = 0
        self.fanout = FanOut(lambda: list(self.peers.values()))

    async def bring(self, name: str, *, size: int = SMALLEST) -> None:
        async def carry() -> None:
            self.carrying += 1
            self.most = max(self.most, self.carrying)
            await self.turns.one()
            self.carrying -= 1
            self.copies.append(("", name))

        await self.fanout.bring(self.peers[name], DIGEST, size, carry=carry, progress=lambda sent: None)

    async def all(self, **more: Any) -> None:
        await self.turns.run(asyncio.gather(*(self.bring(name, **more) for name in self.peers)))
        assert all(peer.holds and not peer.offers for peer in self.peers.values())


async def test_twenty_hosts_are_served_in_a_few_turns() -> None:
    net = Net(20)
    await net.all()
    assert len(net.copies) == 20
    assert net.turns.turn <= 5, "each turn nearly doubles those that have it"
    assert net.most == AT_ONCE
    assert max(peer.most for peer in net.peers.values()) == 1, "a host gives to one at a time"


async def test_hosts_that_do_not_reach_each_other_are_served_by_the_controller() -> None:
    net = Net(6)
    net.cut = {(one, other) for one in net.peers for other in net.peers}
    await net.all()
    assert {giver for giver, _ in net.copies} == {""}
    assert net.most <= AT_ONCE


async def test_a_giver_that_is_down_is_nobodys_giver() -> None:
    net = Net(3)
    net.peers["h0"].holds, net.peers["h0"].up = True, False
    await net.turns.run(asyncio.ensure_future(net.bring("h1")))
    assert net.copies == [("", "h1")]


async def test_small_images_and_the_local_machine_have_them_from_the_controller() -> None:
    net = Net(4)
    await net.all(size=SMALLEST - 1)
    assert {giver for giver, _ in net.copies} == {""}
    net = Net(3)
    net.peers["h0"].holds = True
    net.peers["h0"].way = net.peers["h1"].way = None
    await net.turns.run(asyncio.gather(net.bring("h1"), net.bring("h2")))
    assert {giver for giver, _ in net.copies} == {""}
