"""Networks and subnets: what is refused, which addresses are given, and what a host is told."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import Conflict, Invalid, NotFound, SkydeckError
from core.network import networks, ports, subnets
from core.network.tables import Port, Subnet
from core.sql import select
from tests.core.world import World


def subnet(world: World, **fields: Any) -> Subnet:
    with world.store.write() as session:
        made = networks.create(session, world.admin, name=fields.pop("network", "lan"))
        return subnets.create(
            session, world.admin, **{"name": "s", "network": made.id, "project_id": made.project_id} | fields
        )


REFUSED: list[tuple[dict[str, Any], type[SkydeckError], str]] = [
    ({"cidr": "10.0.0.0"}, Invalid, "a subnet cannot be a /32"),
    ({"cidr": "10.0.0.1/24"}, Invalid, "has host bits set"),
    ({"cidr": "lan"}, Invalid, "'lan' is not a subnet"),
    ({"cidr": "10.0.0.0/30"}, Invalid, "a subnet cannot be a /30"),
    ({"cidr": "10.0.0.0/8"}, Invalid, "a subnet cannot be a /8"),
    ({"cidr": "fd00::/64"}, Invalid, "only IPv4"),
    ({"cidr": "224.0.0.0/24"}, Invalid, "cannot be used for guests"),
    ({"cidr": "127.0.0.0/24"}, Invalid, "cannot be used for guests"),
    ({"cidr": "169.254.0.0/24"}, Invalid, "cannot be used for guests"),
    ({"cidr": "10.0.0.0/24", "gateway": "10.0.1.1"}, Invalid, "gateway 10.0.1.1 is not a usable address"),
    ({"cidr": "10.0.0.0/24", "gateway": "10.0.0.255"}, Invalid, "is not a usable address"),
    ({"cidr": "10.0.0.0/24", "gateway": "x"}, Invalid, "gateway 'x' is not an IPv4 address"),
    ({"cidr": "10.0.0.0/24", "dns": ("x",)}, Invalid, "DNS server 'x'"),
    ({"cidr": "10.0.0.0/24", "pools": (("10.0.0.9", "10.0.0.5"),)}, Invalid, "is backwards"),
    ({"cidr": "10.0.0.0/24", "pools": (("10.0.0.9", "10.0.1.5"),)}, Invalid, "pool 10.0.1.5 is not a usable"),
    ({"cidr": "10.0.0.0/24", "name": " "}, Invalid, "needs a name"),
]


@pytest.mark.parametrize(
    ("fields", "error", "says"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_refused(world: World, fields: dict[str, Any], error: type[SkydeckError], says: str) -> None:
    with pytest.raises(error) as refused:
        subnet(world, **fields)
    assert says in refused.value.title


GIVEN = [
    # fields, gateway, DHCP server, the guest's address
    ({"cidr": "10.0.0.0/24"}, "10.0.0.1", "10.0.0.2", "10.0.0.3"),
    ({"cidr": "10.0.0.0/24", "gateway": "10.0.0.254"}, "10.0.0.254", "10.0.0.1", "10.0.0.2"),
    ({"cidr": "10.0.0.0/24", "no_gateway": True}, None, "10.0.0.1", "10.0.0.2"),
    ({"cidr": "10.0.0.0/24", "dhcp": False}, "10.0.0.1", None, "10.0.0.2"),
    ({"cidr": "10.0.0.0/24", "pools": (("10.0.0.50", "10.0.0.60"),)}, "10.0.0.1", "10.0.0.50", "10.0.0.51"),
]


@pytest.mark.parametrize(("fields", "gateway", "service", "guest"), GIVEN, ids=str)
def test_addresses(world: World, fields: dict[str, Any], gateway: str | None, service: str | None, guest: str) -> None:
    made = subnet(world, **fields)
    with world.store.write() as session:
        assert (made.gateway_ip, subnets.service_ip(session, made.id)) == (gateway, service)
        assert subnets.pick(session, made) == guest


def test_one_subnet_a_network(world: World) -> None:
    made = subnet(world, cidr="10.0.0.0/24")
    with pytest.raises(Conflict, match="has a subnet already"), world.store.write() as session:
        subnets.create(
            session, world.admin, name="t", network=made.network_id, project_id=made.project_id, cidr="10.1.0.0/24"
        )


def test_what_is_in_use_cannot_go(world: World) -> None:
    world.host()
    world.image()
    world.create()
    for remove in (networks.delete, subnets.delete):
        with pytest.raises(Conflict, match=r"still has 1 (ports|addresses)"), world.store.write() as session:
            remove(session, world.admin, "default")


def test_a_network_goes_with_its_subnet_and_its_dhcp_port(world: World) -> None:
    subnet(world, cidr="10.0.0.0/24")
    with world.store.write() as session:
        networks.delete(session, world.admin, "lan")
        assert session.execute(select(Port)).all() == []
        assert session.execute(select(Subnet)).all() == []
        with pytest.raises(NotFound):
            networks.find(session, world.admin, "lan")


@pytest.mark.parametrize("mtu", [67, 9217])
def test_an_mtu(world: World, mtu: int) -> None:
    with pytest.raises(Invalid, match=f"an MTU cannot be {mtu}"), world.store.write() as session:
        networks.create(session, world.admin, name="n", mtu=mtu)


def test_a_host_is_told_of_its_own_ports_only(world: World) -> None:
    world.host("h1")
    world.host("h2", zone="east")
    world.image()
    one, two = world.one(name="a", availability_zone="nova"), world.one(name="b", availability_zone="east")
    with world.store.read() as session:
        network = networks.find(session, world.admin, "default")
        for instance, ip in ((one, "10.0.0.3"), (two, "10.0.0.4")):
            spec = networks.host_spec(session, network, str(instance.host_id))
            assert spec.want.value == "present"
            (block,) = spec.subnets
            assert (block.cidr, block.gateway, block.service_ip) == ("10.0.0.0/24", "10.0.0.1", "10.0.0.2")
            (lease,) = block.hosts
            (port,) = ports.of_device(session, instance.id)
            assert (lease.ip, lease.mac, lease.port_id, lease.hostname) == (ip, port.mac, port.id, instance.name)
        assert networks.host_spec(session, network, "another").want.value == "absent"
