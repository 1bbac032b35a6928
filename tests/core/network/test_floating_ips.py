"""Floating IPs: where they may be, which router takes them there, and what outlives what."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import Conflict, Invalid, NotFound, QuotaExceeded
from core.identity import quotas
from core.network import floating_ips, ports, routers
from core.network.tables import FLOATING_IP, FloatingIP, Port
from core.operations.kinds import parts
from tests.core.network.lan import Lan
from tests.core.world import World


@pytest.fixture
def lan(world: World) -> Lan:
    lan = Lan(world, hosts=3)
    lan.network("lan", "10.0.0.0/24")
    lan.outside()
    lan.router("r", "lan", external_gateway="public")
    return lan


def row(lan: Lan) -> FloatingIP:
    (found,) = lan.world.rows(FloatingIP)
    return found  # type: ignore[no-any-return]


def test_an_address_of_its_own(lan: Lan) -> None:
    free = lan.floating()
    assert (free.address, free.status, free.port_id) == ("203.0.113.3", "DOWN", None)
    assert lan.owned(FLOATING_IP) == [(free.id, "203.0.113.3")]
    chosen = lan.floating(address="203.0.113.77")
    assert chosen.address == "203.0.113.77"
    with pytest.raises(Conflict, match=r"address 203.0.113.77 is taken"):
        lan.floating(address="203.0.113.77")
    with pytest.raises(Invalid, match=r"no address of network public"):
        lan.floating(address="192.0.2.1")
    with pytest.raises(Invalid, match="network lan is not external"):
        lan.floating("lan")
    lan.do(floating_ips.delete, "203.0.113.77")
    assert [ip for _, ip in lan.owned(FLOATING_IP)] == ["203.0.113.3"]


def test_an_exhausted_pool_and_a_quota(lan: Lan) -> None:
    lan.outside("small", "198.51.100.0/29", pools=(("198.51.100.5", "198.51.100.5"),))
    lan.floating("small")
    with pytest.raises(Conflict, match="network small has no free address"):
        lan.floating("small")
    with lan.world.store.write() as session:
        quotas.update(session, lan.ctx, lan.ctx.project_id, "admin", {"floating_ips": 1})
    with pytest.raises(QuotaExceeded):
        lan.floating()


def test_it_is_active_when_its_host_says_so(lan: Lan) -> None:
    port = lan.guest()
    lan.confirm()
    floating = lan.floating(port=port.id)
    assert floating.status == "DOWN"
    (told,) = lan.told(1).floating
    assert (told.address, told.prefix, told.nexthop, told.fixed, told.port) == (
        floating.address, 24, "203.0.113.1", "10.0.0.3", port.id,
    )  # fmt: skip
    lan.confirm()
    assert row(lan).status == "ACTIVE"


def test_a_move_is_told_to_both_hosts_and_done_when_both_confirm(lan: Lan) -> None:
    here, there = lan.guest(host=1), lan.guest(host=2)
    lan.guest(host=3)
    floating = lan.floating(port=here.id)
    lan.confirm()
    before = lan.digests()
    assert lan.touched(floating_ips.associate, floating.id, there.id) == {1, 2}
    after = lan.digests()
    assert [before[host] != after[host] for host in lan.hosts] == [True, True, False]
    lan.confirm(2)
    assert row(lan).status == "DOWN", "the old host may still answer to it"
    lan.confirm(1)
    assert row(lan).status == "ACTIVE"
    assert [event.after for event in lan.world.events("floating_ip.associate")][-1] == {
        "port_id": there.id,
        "fixed_ip": "10.0.0.4",
    }
    assert lan.touched(floating_ips.associate, floating.id, there.id) == set()


def test_a_port_that_goes_leaves_it_behind(lan: Lan) -> None:
    port = lan.guest()
    lan.floating(port=port.id)
    lan.confirm()
    with lan.world.store.write() as session:
        ports.release(session, port.device_id)
    assert (row(lan).port_id, row(lan).router_id, row(lan).status) == (None, None, "DOWN")
    with pytest.raises(Conflict, match="is on no port"):
        lan.do(floating_ips.disassociate, row(lan).id)
    other = lan.guest()
    lan.do(floating_ips.associate, row(lan).address, other.id)
    lan.confirm()
    assert row(lan).status == "ACTIVE"


def test_it_follows_its_port_from_host_to_host(lan: Lan) -> None:
    port = lan.guest()
    lan.floating(port=port.id)
    lan.confirm()
    with lan.world.store.write() as session:
        parts.unbind(session, port.device_id)
    assert (row(lan).port_id, row(lan).status) == (port.id, "DOWN")
    lan.confirm()
    assert row(lan).status == "DOWN"
    with lan.world.store.write() as session:
        ports.bind(session, port.device_id, lan.hosts[1])
    assert [floating.fixed for floating in lan.told(2).floating] == ["10.0.0.3"]
    lan.confirm()
    assert row(lan).status == "ACTIVE"


def test_one_for_each_address_of_a_port(lan: Lan) -> None:
    port = lan.do(ports.add, network="lan", fixed_ips=((None, "10.0.0.50"), (None, "10.0.0.51")))
    with pytest.raises(Invalid, match="several IPv4 addresses"):
        lan.floating(port=port.id)
    with pytest.raises(Invalid, match=r"no IPv4 address 10.0.0.9"):
        lan.floating(port=port.id, fixed_ip="10.0.0.9")
    with pytest.raises(Invalid, match="needs the port"):
        lan.floating(fixed_ip="10.0.0.50")
    first = lan.floating(port=port.id, fixed_ip="10.0.0.50")
    with pytest.raises(Conflict, match=f"has floating IP {first.address} already"):
        lan.floating(port=port.id, fixed_ip="10.0.0.50")
    assert lan.floating(port=port.id, fixed_ip="10.0.0.51").fixed_ip == "10.0.0.51"


def test_a_router_must_join_the_two(lan: Lan) -> None:
    lan.network("far", "10.7.0.0/24")
    port = lan.guest("far")
    with pytest.raises(Conflict, match="no router joins subnet far to external network public"):
        lan.floating(port=port.id)
    bare = lan.do(ports.add, network="lan", no_fixed_ip=True)
    with pytest.raises(Invalid, match="has no IPv4 address"):
        lan.floating(port=bare.id)
    (leg,) = [port for port in lan.world.rows(Port) if port.device_owner == "network:router_interface"]
    with pytest.raises(Invalid, match="is not a server's"):
        lan.floating(port=leg.id)


@pytest.mark.parametrize("attempt", range(3))
def test_the_router_that_is_the_gateway_is_preferred(lan: Lan, attempt: int) -> None:
    (gateway,) = lan.world.rows(routers.access.Router)
    other = lan.router(f"other{attempt}", external_gateway="public")
    beside = lan.do(ports.add, network="lan")
    lan.do(routers.add_port, other.id, beside.id)
    assert lan.floating(port=lan.guest().id).router_id == gateway.id
    lan.do(floating_ips.disassociate, row(lan).id)
    lan.do(routers.remove_subnet, gateway.id, "lan")
    lan.do(floating_ips.associate, row(lan).id, lan.guest().id)
    assert row(lan).router_id == other.id


def test_a_projects_own(lan: Lan) -> None:
    mine = lan.floating()
    other = lan.world.someone("member")

    def seen(verb: Any, *args: Any) -> None:
        with lan.world.store.write() as session:
            verb(session, other, *args)

    with pytest.raises(NotFound):
        seen(floating_ips.find, mine.id)
    with lan.world.store.write() as session:
        theirs = floating_ips.create(session, other, network="public")
    with pytest.raises(NotFound, match="in the project of floating IP"):
        lan.do(floating_ips.associate, theirs.id, lan.guest().id)
    assert lan.do(floating_ips.set, mine.id, description="web").description == "web"
