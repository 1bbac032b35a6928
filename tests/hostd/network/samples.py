"""Network specs that several tests start from."""

from __future__ import annotations

import attrs

from hostd.spec import DhcpHost, NetworkSpec, SubnetSpec, Want

UUID = "0a1b2c3d-4e5f-4678-9abc-def012345678"
PORT_A = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
PORT_B = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"

HOST_A = DhcpHost(port_id=PORT_A, mac="fa:16:3e:00:00:0a", ip="10.0.0.10", hostname="web-1")
HOST_B = DhcpHost(port_id=PORT_B, mac="FA:16:3E:00:00:0B", ip="10.0.0.11", hostname="web-2")

SUBNET = SubnetSpec(
    id="5ub",
    cidr="10.0.0.0/24",
    gateway="10.0.0.1",
    dhcp=True,
    service_ip="10.0.0.2",
    dns_servers=("9.9.9.9", "2620:fe::fe"),
    hosts=(HOST_A,),
)
PRIVATE = SubnetSpec(id="priv", cidr="10.1.0.0/26", gateway=None, dhcp=True, service_ip="10.1.0.2")
UNSERVED = SubnetSpec(id="quiet", cidr="10.2.0.0/24", gateway=None, dhcp=False, service_ip=None)

NETWORK = NetworkSpec(uuid=UUID, want=Want.PRESENT, mtu=1450, subnets=(SUBNET,))


def with_hosts(*hosts: DhcpHost) -> NetworkSpec:
    """NETWORK with these leases in its subnet."""
    return attrs.evolve(NETWORK, subnets=(attrs.evolve(SUBNET, hosts=hosts),))
