"""Where a volume is put: the filters and the weigher on plain values, and what the database makes of hosts' looks."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from core.errors import Conflict, NoValidHost, Unavailable
from core.hosts import hosts
from core.hosts.hosts import Host
from core.volumes import placement, stored
from core.volumes.placement import Place, Request, filters, weighers
from core.volumes.tables import BackendHost
from tests.core.volumes.stock import Stock
from tests.core.world import World

PLACE = Place(
    backend_id="b", backend="nas", driver="nfs", host_id=None, host="", enabled=True, disabled_reason="", zone="",
    reached_by=frozenset({"h1"}), unreached="", capabilities=frozenset({"thin", "snapshot"}), total_gb=100, free_gb=60,
    promised_gb=900, ratio=10.0, reserved_percent=5,
)  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "place", "by", "why"),
    [
        ({}, {}, None, ""),
        ({}, {"enabled": False, "disabled_reason": "moving"}, "enabled", "disabled: moving"),
        ({"avoid": frozenset({"b"})}, {}, "another", "it is there already, or was tried there"),
        ({"extra_specs": {"volume_backend_name": "ceph"}}, {}, "backend_name", "the type wants backend ceph"),
        ({"extra_specs": {"volume_backend_name": "nas"}}, {}, None, ""),
        ({}, {"reached_by": frozenset(), "unreached": "no route"}, "reachable", "no host reaches it: no route"),
        ({"extra_specs": {"thin": "<is> True", "capabilities:clone": "<is> False"}}, {}, None, ""),
        ({"extra_specs": {"clone": "<is> True"}}, {}, "capabilities", "the type wants clone True"),
        (
            {"extra_specs": {"clone": "yes"}},
            {},
            "capabilities",
            'the type asks for clone=yes, which is not "<is> True"',
        ),
        ({"extra_specs": {"multiattach": "<is> True", "qos:x": "1"}}, {}, None, ""),
        ({"extra_specs": {"driver": "rbd"}}, {}, "capabilities", "its driver is nfs, the type wants rbd"),
        ({"zone": "east"}, {}, None, ""),
        ({"zone": "east"}, {"zone": "west"}, "availability_zone", "in zone west, east was asked for"),
        ({"host": "h2"}, {}, "host", "the host that needs it does not reach it"),
        ({"near": frozenset({"h2"})}, {}, "source", "no host reaches both it and what the volume is made from"),
        ({"near": frozenset({"h1", "h2"}), "host": "h1"}, {}, None, ""),
        ({"size_gb": 100}, {}, None, ""),
        ({"size_gb": 101}, {}, "capacity", "needs 101 GiB, may still promise 100 GiB (free 60 of 100 GiB, 5 reserved"),
        ({"size_gb": 60}, {"promised_gb": 0, "free_gb": 10}, "capacity", "may still promise 50 GiB"),
        ({"size_gb": 56}, {"capabilities": frozenset()}, "capacity", "may still promise 55 GiB"),
    ],
)
def test_each_filter(request_: dict[str, Any], place: dict[str, Any], by: str | None, why: str) -> None:
    request = dataclasses.replace(Request(size_gb=1), **request_)
    left, rejected, counts = filters.apply(request, [PLACE._replace(**place)])
    if by is None:
        assert (len(left), rejected) == (1, {})
    else:
        assert left == []
        assert rejected["nas"][0] == by
        assert rejected["nas"][1].startswith(why) or why in rejected["nas"][1]
    assert [name for name, _ in counts] == list(filters.FILTERS)


def test_most_room_first_then_by_name() -> None:
    full = PLACE._replace(backend="full", promised_gb=990)
    twin = PLACE._replace(backend="a")
    assert [(place.name, weight) for place, weight in weighers.rank([full, PLACE, twin])] == [
        ("a", 1.0),
        ("nas", 1.0),
        ("full", 0.1),
    ]
    assert weighers.rank([]) == []


def test_places_are_what_hosts_see(world: World, stock: Stock) -> None:
    one, two, down = world.host("h1"), world.host("h2"), world.host("h3", up=False)
    shared = stock.add("nas", hosts=(one, two, down))
    stock.seen("local", one, total=100, free=50)
    stock.seen("nas", two, reachable=False, detail="mount failed")
    stock.made(type="nas", size_gb=7)
    with world.store.read() as session:
        seen = {place.name: place for place in placement.look(session)}
        assert set(seen) == {"local@h1", "local@h2", "local@h3", "nas"}
        assert seen["nas"].reached_by == {one}
        assert (seen["nas"].promised_gb, seen["nas"].free_gb, seen["nas"].host_id) == (7, 1000, None)
        assert (seen["local@h1"].free_gb, seen["local@h1"].zone, seen["local@h1"].promised_gb) == (50, "nova", 0)
        assert seen["local@h2"].unreached == "host h2 has not looked for it yet"
        assert seen["local@h3"].unreached == "host h3 is down"
        assert placement.reach(session, shared) == {one}
        asked = Request(size_gb=1, host=two)
        with pytest.raises(NoValidHost, match="4 looked at, filtered: 2 by reachable, 2 by host"):
            placement.place(session, world.config, asked)


def test_who_acts(world: World, stock: Stock) -> None:
    one, two = world.host("h1"), world.host("h2")
    world.image()
    nas = stock.add("nas", hosts=(one, two))
    stock.seen("local", two)
    local, shared = stock.made(), stock.made(type="nas")
    instance = world.settled(availability_zone="nova:h2")
    with world.store.read() as session:
        assert placement.actor(session, local) == two, "who holds it"
        assert placement.actor(session, shared) == one, "the least busy, then the first by name"
        assert placement.choose_actor(session, {nas, local.backend_id}) == two, "who reaches both"
    stock.attach(shared, instance.id)
    with world.store.read() as session:
        assert placement.actor(session, shared) == two, "where its guest is"
    stock.detach(shared)
    with world.store.write() as session:
        for host in (one, two):
            session.get_one(Host, host).state = "down"
        with pytest.raises(Unavailable, match="no host reaches nas now"):
            placement.actor(session, shared)
        assert placement.actor(session, local) == two, "its work waits for it"


def test_who_only_opens_volumes_makes_none(world: World, stock: Stock) -> None:
    opener, keeper = world.host("h1"), world.host("h2")
    san = stock.add("san", driver="iscsi", hosts=(keeper,))
    stock.seen("san", opener, total=0, free=0)
    volume = stock.made(type="san")
    with world.store.read() as session:
        assert placement.reach(session, san) == {opener, keeper}
        assert placement.actor(session, volume) == keeper
        (found,) = [one for one in stored.compare(session) if one.backend.id == san]
        assert found.seen.host_id == keeper


def test_a_host_that_keeps_volumes_stays(world: World, stock: Stock) -> None:
    host = world.host()
    stock.seen("local", host)
    volume = stock.made()
    with pytest.raises(Conflict, match="host h1 keeps 1 volumes"), world.store.write() as session:
        hosts.remove(session, world.admin, "h1")
    with world.store.write() as session:
        hosts.update_host(session, world.admin, "h1", enabled=False, disabled_reason="going")
    with pytest.raises(NoValidHost) as refused:
        stock.create()
    assert refused.value.funnel["rejected"] == {"local@h1": {"filter": "enabled", "why": "disabled: going"}}
    stock.put(volume.id, deleted_at=1)
    with world.store.write() as session:
        hosts.remove(session, world.admin, "h1")
    assert world.rows(BackendHost) == []
