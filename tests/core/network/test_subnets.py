"""Subnets: what is refused, which addresses are given, and what changes while they are in use."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from sqlalchemy import event, insert

from core.errors import Conflict, Invalid, NotFound, QuotaExceeded, SkydeckError
from core.network import networks, numbers, ports, subnets
from core.network.addresses import eui64
from core.network.tables import DHCP, ROUTER_INTERFACE, FixedIP, Port
from tests.core.network.land import Land

V6 = "2001:db8:1::/64"

REFUSED: list[tuple[dict[str, Any], type[SkydeckError], str]] = [
    ({"cidr": "10.0.0.0"}, Invalid, "a subnet cannot be a /32"),
    ({"cidr": "10.0.0.1/24"}, Invalid, "has host bits set"),
    ({"cidr": "lan"}, Invalid, "'lan' is not a subnet"),
    ({"cidr": "10.0.0.0/30"}, Invalid, "a subnet cannot be a /30"),
    ({"cidr": "10.0.0.0/8"}, Invalid, "a subnet cannot be a /8"),
    ({"cidr": "fd00::/48"}, Invalid, "a subnet cannot be a /48"),
    ({"cidr": "fd00::/127"}, Invalid, "a subnet cannot be a /127"),
    ({"cidr": "224.0.0.0/24"}, Invalid, "cannot be used for guests"),
    ({"cidr": "127.0.0.0/24"}, Invalid, "cannot be used for guests"),
    ({"cidr": "169.254.0.0/24"}, Invalid, "cannot be used for guests"),
    ({"cidr": "fe80::/64"}, Invalid, "cannot be used for guests"),
    ({"cidr": "100.64.3.0/24"}, Invalid, "hosts route over 100.64.0.0/10"),
    ({"gateway": "10.0.1.1"}, Invalid, "gateway 10.0.1.1 is not a usable address"),
    ({"gateway": "10.0.0.255"}, Invalid, "is not a usable address"),
    ({"gateway": "x"}, Invalid, "gateway 'x' is not an IP address"),
    ({"gateway": "fd00::1"}, Invalid, "gateway fd00::1 is not a usable address"),
    ({"dns": ("x",)}, Invalid, "DNS server 'x'"),
    ({"dns": ("fd00::1",)}, Invalid, "DNS server fd00::1 is not an IPv4 address"),
    ({"dns": ("1.1.1.1",) * 6}, Invalid, "6 DNS servers are too many"),
    ({"pools": (("10.0.0.9", "10.0.0.5"),)}, Invalid, "is backwards"),
    ({"pools": (("10.0.0.9", "10.0.1.5"),)}, Invalid, "pool 10.0.1.5 is not a usable"),
    ({"pools": (("10.0.0.1", "10.0.0.5"),)}, Invalid, "gateway 10.0.0.1 is inside the pool"),
    ({"pools": (("10.0.0.2", "10.0.0.9"), ("10.0.0.9", "10.0.0.20"))}, Invalid, "overlaps the pool"),
    ({"host_routes": (("10.2.0.0", "x"),)}, Invalid, "next hop 'x'"),
    ({"host_routes": (("10.2.0.1/24", "10.0.0.5"),)}, Invalid, "is not a destination"),
    ({"host_routes": (("fd00::/64", "fd00::1"),)}, Invalid, "destination fd00::/64 is not an IPv4"),
    ({"host_routes": (("10.2.0.0/16", "10.0.0.5"),) * 21}, Invalid, "21 host routes are too many"),
    ({"ipv6_mode": "slaac"}, Invalid, "only an IPv6 subnet"),
    ({"cidr": V6, "ipv6_mode": "dhcpv6-stateful"}, Invalid, "is not an IPv6 mode"),
    ({"cidr": "fd00::/80", "ipv6_mode": "slaac"}, Invalid, "cannot be advertised"),
    ({"cidr": V6, "ipv6_mode": "slaac", "dhcp": False}, Invalid, "cannot be without DHCP"),
    ({"name": " "}, Invalid, "needs a name"),
    ({"network": "0f8b"}, NotFound, "no network"),
]


@pytest.mark.parametrize(("fields", "error", "says"), REFUSED, ids=lambda it: it if isinstance(it, str) else "")
def test_refused(land: Land, fields: dict[str, Any], error: type[SkydeckError], says: str) -> None:
    made = land.network()
    asked = {"name": "s", "network": made.id, "project_id": made.project_id, "cidr": "10.0.0.0/24"} | fields
    with pytest.raises(error) as refused:
        land.do(subnets.create, **asked)
    assert says in refused.value.title
    assert land.counts() == {"Network": 1, "Subnet": 0, "Port": 0, "FixedIP": 0}


GIVEN: list[tuple[dict[str, Any], str | None, str | None, str]] = [
    # fields, gateway, DHCP server, a guest's address
    ({}, "10.0.0.1", "10.0.0.2", "10.0.0.3"),
    ({"gateway": "10.0.0.254"}, "10.0.0.254", "10.0.0.1", "10.0.0.2"),
    ({"gateway": "10.0.0.2"}, "10.0.0.2", "10.0.0.1", "10.0.0.3"),
    ({"no_gateway": True}, None, "10.0.0.1", "10.0.0.2"),
    ({"dhcp": False}, "10.0.0.1", None, "10.0.0.2"),
    ({"pools": (("10.0.0.50", "10.0.0.60"),)}, "10.0.0.1", "10.0.0.50", "10.0.0.51"),
    ({"pools": (("10.0.0.9", "10.0.0.9"), ("10.0.0.5", "10.0.0.5"))}, "10.0.0.1", "10.0.0.5", "10.0.0.9"),
    ({"cidr": "fd00::/64"}, "fd00::1", "fd00::2", "fd00::3"),
    ({"cidr": "fd00::/64", "no_gateway": True}, None, "fd00::1", "fd00::2"),
    ({"cidr": "fd00::fff0/124", "gateway": "fd00::ffff"}, "fd00::ffff", "fd00::fff1", "fd00::fff2"),
]


@pytest.mark.parametrize(("fields", "gateway", "service", "guest"), GIVEN, ids=str)
def test_addresses(land: Land, fields: dict[str, Any], gateway: str | None, service: str | None, guest: str) -> None:
    made = land.subnet(**fields)
    with land.world.store.read() as session:
        assert (made.gateway_ip, subnets.service_ip(session, made.id)) == (gateway, service)
        assert subnets.pick(session, made) == guest
    assert land.ips(land.port()) == [guest]


def test_pools_leave_the_gateway_out(land: Land) -> None:
    assert land.subnet(gateway="10.0.0.9").allocation_pools == [["10.0.0.1", "10.0.0.8"], ["10.0.0.10", "10.0.0.254"]]
    assert land.subnet(V6, name="t").allocation_pools == [["2001:db8:1::2", "2001:db8:1:0:ffff:ffff:ffff:ffff"]]


def test_several_on_one_network(land: Land) -> None:
    land.subnet("10.0.0.0/24")
    land.subnet("10.0.1.0/24", name="t")
    land.subnet(V6, name="six")
    for overlapping in ("10.0.0.0/25", "10.0.0.0/23", V6):
        with pytest.raises(Conflict, match="overlaps subnet"):
            land.subnet(overlapping, name="u")
    land.subnet("10.0.0.0/24", network="other")  # of another network it is no one's business
    (server,) = [port for port in land.world.rows(Port) if port.device_owner == DHCP and len(land.ips(port)) > 1]
    assert land.ips(server) == ["10.0.0.2", "10.0.1.2", "2001:db8:1::2"], "one DHCP port, as in neutron"
    assert land.ips(land.port()) == ["10.0.0.3", "2001:db8:1::3"], "one address of each family"


def test_a_full_subnet_leads_to_the_next(land: Land) -> None:
    land.subnet("10.0.0.0/29")
    land.subnet("10.0.1.0/29", name="t")
    found = [land.ips(land.port())[0] for _ in range(8)]
    assert found == [f"10.0.{net}.{last}" for net in (0, 1) for last in range(3, 7)]
    before = land.counts()
    with pytest.raises(Conflict, match=r"no free address is left in s \(10.0.0.0/29\), t \(10.0.1.0/29\)"):
        land.port()
    with pytest.raises(Conflict, match=r"subnet s .* has no free address"):
        land.port(fixed_ips=(("s", None),))
    assert land.counts() == before, "nothing is half made"
    (port,) = [port for port in land.world.rows(Port) if land.ips(port) == ["10.0.0.5"]]
    land.do(ports.delete, port.id)
    assert land.ips(land.port()) == ["10.0.0.5"]


def test_many_ports_and_a_gap(land: Land) -> None:
    made = land.subnet("10.0.0.0/16")
    with land.world.store.write() as session:
        first = ipaddress.ip_address("10.0.0.3")
        plain = {"network_id": made.network_id}
        rows = [{"id": f"p{n}", "project_id": made.project_id, "mac": str(n), "created_at": 1} for n in range(3000)]
        session.execute(insert(Port), [row | plain for row in rows])
        taken = [{"port_id": f"p{n}", "ip": str(first + n), "subnet_id": made.id} for n in range(3000)]
        session.execute(insert(FixedIP), [row | plain for row in taken])
        assert subnets.pick(session, made) == "10.0.11.187"
        asked: list[Any] = []
        event.listen(session.connection(), "before_cursor_execute", lambda *what: asked.append(what[2]))
        for gap in (700, 1999, 0):
            session.delete(session.get_one(FixedIP, (f"p{gap}", str(first + gap))))
            session.flush()
            asked.clear()
            assert subnets.pick(session, made) == str(first + min(gap, 700))
            assert len(asked) <= 17, "a gap is found by halving, not by looking at every address"


@pytest.mark.parametrize("ip", ["10.0.0.1", "fd00::1", "fd00::7fff:ffff:ffff:ffff"])
def test_numbers_order_addresses(ip: str) -> None:
    assert numbers.of_address(ip) == int(ipaddress.ip_address(ip)) & (2**64 - 1)
    assert numbers.of_address("fd00::8000:0:0:0") is None


def test_guests_derive_their_addresses(land: Land) -> None:
    """RFC 4291's example, and neutron's rule: implicit on every port of the network."""
    land.subnet("10.0.0.0/24")
    early = land.port(mac="fa:16:3e:00:00:01")
    made = land.subnet(V6, name="six", ipv6_mode="slaac")
    assert eui64(made, "34:56:78:9a:bc:de") == "2001:db8:1:0:3656:78ff:fe9a:bcde"
    assert land.ips(early) == ["10.0.0.3", "2001:db8:1:0:f816:3eff:fe00:1"], "ports that were there hear it too"
    late = land.port(mac="fa:16:3e:00:00:02", fixed_ips=((None, "10.0.0.9"),))
    assert land.ips(late) == ["10.0.0.9", "2001:db8:1:0:f816:3eff:fe00:2"]
    assert land.ips(land.port(no_fixed_ip=True)) == []
    with pytest.raises(Invalid, match="cannot be chosen: guests of subnet six derive theirs"):
        land.port(fixed_ips=((None, "2001:db8:1::9"),))
    land.do(ports.set, late.id, mac="fa:16:3e:00:00:03")
    assert land.ips(late) == ["10.0.0.9", "2001:db8:1:0:f816:3eff:fe00:3"]
    land.do(subnets.delete, "six")  # nobody's address holds an advertised prefix
    assert land.ips(late) == ["10.0.0.9"]


def test_dhcp_comes_and_goes(land: Land) -> None:
    host = land.world.host()
    made = land.subnet()
    land.guest(host)
    told = land.generations()[host]
    land.do(subnets.set, "s", dhcp=False)
    assert [port for port in land.world.rows(Port) if port.device_owner == DHCP] == []
    assert land.generations()[host] == told + 1
    land.do(subnets.set, "s", dhcp=True)
    with land.world.store.read() as session:
        assert subnets.service_ip(session, made.id) == "10.0.0.2"


def test_set(land: Land) -> None:
    land.subnet()
    changed = land.do(
        subnets.set, "s", name="t", description="d", dns=("1.1.1.1", "9.9.9.9"), gateway="10.0.0.254",
        pools=(("10.0.0.10", "10.0.0.99"),), host_routes=(("10.9.0.0/16", "10.0.0.7"),),
    )  # fmt: skip
    assert (changed.name, changed.gateway_ip, changed.dns_nameservers) == ("t", "10.0.0.254", ["1.1.1.1", "9.9.9.9"])
    assert changed.host_routes == [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.7"}]
    assert land.ips(land.port()) == ["10.0.0.10"]
    (event,) = land.world.events("subnet.set")
    assert event.before["allocation_pools"] == [["10.0.0.2", "10.0.0.254"]]
    assert event.after["allocation_pools"] == [["10.0.0.10", "10.0.0.99"]]
    assert land.do(subnets.set, "t", no_gateway=True).gateway_ip is None
    assert land.do(subnets.set, "t", dns=()).dns_nameservers == []
    with pytest.raises(Invalid, match=r"gateway 10.0.0.11 is inside the pool"):
        land.do(subnets.set, "t", gateway="10.0.0.11")
    with pytest.raises(Invalid, match="is not a usable address"):
        land.do(subnets.set, "t", gateway="10.0.1.1")
    with pytest.raises(Invalid, match="needs a pool"):
        land.do(subnets.set, "t", pools=())
    land.subnet(V6, name="six", ipv6_mode="slaac")
    with pytest.raises(Invalid, match="cannot be without DHCP"):
        land.do(subnets.set, "six", dhcp=False)


def test_a_gateway_in_use_stays(land: Land) -> None:
    made = land.subnet(pools=(("10.0.0.10", "10.0.0.20"),))
    with land.world.store.write() as session:
        ports.create(
            session, project_id=made.project_id, network_id=made.network_id, fixed={made.id: "10.0.0.1"},
            owner=ROUTER_INTERFACE, device_id="r",
        )  # fmt: skip
    for change in ({"gateway": "10.0.0.254"}, {"no_gateway": True}):
        with pytest.raises(Conflict, match=r"gateway 10.0.0.1 is in use by port"):
            land.do(subnets.set, "s", **change)
    with pytest.raises(Conflict, match="still has 1 addresses"):
        land.do(subnets.delete, "s")


def test_an_address_in_use_is_no_gateway(land: Land) -> None:
    land.subnet(no_gateway=True, pools=(("10.0.0.10", "10.0.0.20"),))
    land.port(fixed_ips=((None, "10.0.0.1"),))
    with pytest.raises(Conflict, match=r"address 10.0.0.1 is taken by port"):
        land.do(subnets.set, "s", gateway="10.0.0.1")


def test_whose_a_subnet_is(land: Land) -> None:
    one, two = land.world.someone(project="one"), land.world.someone(project="two")
    made = land.subnet(ctx=one)
    for verb in (subnets.find, subnets.set, subnets.delete):
        with pytest.raises(NotFound):
            land.do(verb, made.id, ctx=two)
    land.do(networks.set, made.network_id, shared=True)
    assert land.do(subnets.find, "s", ctx=two).id == made.id
    for verb in (subnets.set, subnets.delete):
        with pytest.raises(NotFound, match="of yours"):
            land.do(verb, made.id, ctx=two)
    with pytest.raises(NotFound, match="of yours"):
        land.do(subnets.create, ctx=two, name="x", network="lan", project_id=two.project_id, cidr="10.9.0.0/24")


def test_quota(land: Land) -> None:
    land.quota(subnets=1)
    land.subnet()
    with pytest.raises(QuotaExceeded):
        land.subnet("10.1.0.0/24", name="t")
