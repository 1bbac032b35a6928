"""An instance as its host is told it: how its guest is told its addresses, and its security groups."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from core.compute.instances import wire
from core.compute.instances.table import Instance
from core.network import ports
from core.network.tables import FixedIP, Network, Port, PortSecurityGroup, SecurityGroup, Subnet
from core.store import now
from tests.core.world import World

NAME_SERVER = {"type": "dns", "address": "9.9.9.9"}


def told(world: World, *subnets: tuple[dict[str, Any], str]) -> dict[str, Any]:
    """network_data of one port with an address in each subnet."""
    with world.store.write() as session:
        at = now(session)
        project = world.admin.project_id
        session.add(Network(id="net", name="n", project_id=project, mtu=1400, segmentation_id=99, created_at=at))
        port = Port(id="port", project_id=project, network_id="net", mac="fa:16:3e:00:00:01", created_at=at)
        session.add(port)
        session.flush()
        for number, (fields, ip) in enumerate(subnets):
            row = {"id": f"s{number}", "name": "", "network_id": "net", "project_id": project, "created_at": at}
            session.add(Subnet(**{**row, **fields}))
            session.flush()
            session.add(FixedIP(id=f"ip{number}", port_id="port", subnet_id=f"s{number}", network_id="net", ip=ip))
        session.flush()
        return wire.network_data(session, [port])


def test_links_and_dhcp(world: World) -> None:
    found = told(world, ({"cidr": "10.0.0.0/24", "dns_nameservers": ["9.9.9.9"]}, "10.0.0.5"))
    link = {"id": "tapport", "vif_id": "port", "type": "phy", "mtu": 1400, "ethernet_mac_address": "fa:16:3e:00:00:01"}
    assert found == {
        "links": [link],
        "networks": [{"id": "network0", "link": "tapport", "network_id": "net", "type": "ipv4_dhcp"}],
        "services": [NAME_SERVER],
    }


def test_without_dhcp_everything_is_told(world: World) -> None:
    static = {
        "cidr": "10.0.0.0/24",
        "enable_dhcp": False,
        "gateway_ip": "10.0.0.1",
        "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}],
        "dns_nameservers": ["9.9.9.9"],
    }
    six = {"cidr": "fd00::/64", "ip_version": 6, "gateway_ip": "fd00::1", "dns_nameservers": ["9.9.9.9"]}
    found = told(world, (static, "10.0.0.5"), (six, "fd00::5"))
    assert found["networks"] == [
        {
            "id": "network0", "link": "tapport", "network_id": "net", "type": "ipv4", "ip_address": "10.0.0.5",
            "netmask": "255.255.255.0",
            "routes": [
                {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"},
                {"network": "10.9.0.0", "netmask": "255.255.0.0", "gateway": "10.0.0.9"},
            ],
        },
        {
            "id": "network1", "link": "tapport", "network_id": "net", "type": "ipv6", "ip_address": "fd00::5",
            "netmask": "ffff:ffff:ffff:ffff::",
            "routes": [{"network": "::", "netmask": "::", "gateway": "fd00::1"}],
        },
    ]  # fmt: skip
    assert found["services"] == [NAME_SERVER], "each server once"


def test_ipv6_from_the_router(world: World) -> None:
    six = {"ip_version": 6}
    found = told(
        world,
        ({**six, "cidr": "fd00::/64", "ipv6_mode": "slaac"}, "fd00::5"),
        ({**six, "cidr": "fd01::/64", "ipv6_mode": "dhcpv6-stateless"}, "fd01::5"),
    )
    assert [entry["type"] for entry in found["networks"]] == ["ipv6_slaac", "ipv6_dhcpv6-stateless"]


def test_the_names_of_its_groups_each_once(world: World) -> None:
    world.host()
    world.image()
    instance = world.settled()
    with world.store.write() as session:
        _group(session, world, "web", instance)
        spec = wire.spec(session, world.config, session.get_one(Instance, instance.id))
    assert spec.metadata is not None
    assert "web" in spec.metadata.security_groups
    assert list(spec.metadata.security_groups) == sorted(set(spec.metadata.security_groups))
    assert spec.metadata.name == "web"


def _group(session: Session, world: World, name: str, instance: Instance) -> None:
    group = SecurityGroup(id="group", name=name, project_id=world.admin.project_id, created_at=now(session))
    session.add(group)
    session.flush()
    for port in ports.of_device(session, instance.id):
        session.add(PortSecurityGroup(port_id=port.id, security_group_id="group"))
    session.flush()
