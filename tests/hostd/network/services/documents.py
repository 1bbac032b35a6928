"""Small networking documents for tests of the services: one network with two guests, and variations."""

from __future__ import annotations

from typing import Any, Final

from hostd.network.document import Document
from hostd.spec import (
    FloatingSpec,
    GatewaySpec,
    NameRecord,
    NetworkingSpec,
    NetworkSpec,
    PortAddress,
    PortSpec,
    Route,
    RouterLeg,
    RouterSpec,
    SegmentType,
    SubnetSpec,
)

HOST: Final = "00000000-0000-4000-8000-00000000000e"
NETWORK: Final = "0a1b2c3d-4e5f-4678-9abc-def012345678"
OUTSIDE: Final = "0f000000-0000-4000-8000-000000000001"
ROUTER: Final = "07000000-0000-4000-8000-000000000001"
LEG: Final = "1e900000-0000-4000-8000-000000000001"
SPACE: Final = "skn-0a1b2c3d4e5"
"""The network's namespace."""


def subnet(**changes: Any) -> SubnetSpec:
    fields: dict[str, Any] = {
        "id": "four",
        "cidr": "10.0.0.0/24",
        "gateway": "10.0.0.1",
        "dhcp": True,
        "service_ip": "10.0.0.2",
    }
    return SubnetSpec(**{**fields, **changes})


SIX: Final = SubnetSpec(
    id="six", cidr="fd00:1::/64", gateway="fd00:1::1", dhcp=True, service_ip="fd00:1::2", advertise=True
)


def network(**changes: Any) -> NetworkSpec:
    fields: dict[str, Any] = {
        "uuid": NETWORK,
        "type": SegmentType.VXLAN,
        "segment": 1001,
        "mtu": 1450,
        "subnets": (subnet(),),
        "names": (NameRecord(name="web-1", ip="10.0.0.10"), NameRecord(name="far", ip="10.0.0.77")),
    }
    return NetworkSpec(**{**fields, **changes})


def port(number: int = 1, **changes: Any) -> PortSpec:
    fields: dict[str, Any] = {
        "uuid": f"aaaaaaa{number}-aaaa-4aaa-8aaa-aaaaaaaaaaaa",
        "network": NETWORK,
        "device": f"dddddd0{number}-dddd-4ddd-8ddd-dddddddddddd",
        "mac": f"fa:16:3e:00:00:0{number}",
        "addresses": (PortAddress(subnet="four", ip=f"10.0.0.1{number - 1}"),),
        "hostname": f"web-{number}",
    }
    return PortSpec(**{**fields, **changes})


def document(**changes: Any) -> Document:
    fields: dict[str, Any] = {"uuid": HOST, "networks": (network(),), "ports": (port(),)}
    return Document(NetworkingSpec(**{**fields, **changes}))


def routed(*, external: bool = True, snat: bool = True, **changes: Any) -> Document:
    """The network behind a router, and with a floating IP."""
    outside = network(
        uuid=OUTSIDE,
        type=SegmentType.FLAT,
        segment=None,
        external=True,
        subnets=(SubnetSpec(id="out", cidr="203.0.113.0/24", gateway="203.0.113.1", dhcp=False, service_ip=None),),
        names=(),
    )
    router = RouterSpec(
        uuid=ROUTER,
        legs=(RouterLeg(port=LEG, network=NETWORK, mac="fa:16:3e:00:01:01", addresses=("10.0.0.1/24",)),),
        external=OUTSIDE if external else None,
        snat=snat,
    )
    floating = FloatingSpec(
        uuid="f10a0000-0000-4000-8000-000000000001",
        router=ROUTER,
        network=OUTSIDE,
        address="203.0.113.50",
        prefix=24,
        nexthop="203.0.113.1",
        fixed="10.0.0.10",
        port=port().uuid,
    )
    networks = (network(), outside)
    gateway = GatewaySpec(network=OUTSIDE, address="203.0.113.207/24", mac="fa:16:3e:00:02:01", nexthop="203.0.113.1")
    fields = {
        "networks": networks,
        "routers": (router,),
        "floating": (floating,) if external else (),
        "gateways": (gateway,),
    }
    return document(**{**fields, **changes})


def route(destination: str, nexthop: str) -> Route:
    return Route(destination=destination, nexthop=nexthop)
