"""One host's document with a bit of all that a firewall is asked for."""

from __future__ import annotations

from uuid import UUID

from hostd.network.document import Document
from hostd.spec import (
    AddressPair,
    Direction,
    GroupSpec,
    NetworkingSpec,
    NetworkSpec,
    PortAddress,
    PortSpec,
    RouterLeg,
    RouterSpec,
    RuleSpec,
    SegmentType,
    SubnetSpec,
    Underlay,
)


def uuid(kind: int, number: int) -> str:
    """The first eleven digits name interfaces: they tell objects apart."""
    return str(UUID(hex=f"{kind:03x}{number:08x}" + "0" * 21))


RED, FLAT = uuid(1, 1), uuid(1, 2)
RED4, RED6, FLAT4 = "red-4", "red-6", "flat-4"
WEB, INNER, FRIENDS = uuid(3, 1), uuid(3, 2), uuid(3, 3)
LEG = RouterLeg(port=uuid(7, 1), network=RED, mac="FA:16:3E:AA:00:01", addresses=("10.0.0.1/24", "fd00:a::1/64"))


def rule(
    number: int,
    version: int = 4,
    *,
    egress: bool = False,
    protocol: str | None = None,
    first: int | None = None,
    last: int | None = None,
    cidr: str | None = None,
    group: str | None = None,
) -> RuleSpec:
    return RuleSpec(
        uuid=uuid(6, number), direction=Direction.EGRESS if egress else Direction.INGRESS, version=version,
        protocol=protocol, first=first, last=last, cidr=cidr, group=group,
    )  # fmt: skip


GROUPS = (
    GroupSpec(
        uuid=WEB,
        rules=(
            rule(1, egress=True),
            rule(2, 6, egress=True),
            rule(3, protocol="tcp", first=80, last=80),
            rule(4, protocol="tcp", first=8000, last=8999, cidr="192.0.2.0/24"),
            rule(5, 6, protocol="tcp", first=80, last=80, cidr="2001:db8::7/128"),
            rule(6, protocol="icmp"),
            rule(7, protocol="icmp", first=8, last=0),
            rule(8, 6, protocol="icmp", first=128),
            rule(9, protocol="sctp", first=1, last=65535, cidr="0.0.0.0/0"),
            rule(10, protocol="112"),
            rule(11, protocol="udp"),
        ),
        members=("10.0.0.11",),
    ),
    GroupSpec(
        uuid=INNER,
        rules=(
            rule(20, egress=True, protocol="udp", first=53, last=53, cidr="9.9.9.9"),
            rule(21, group=FRIENDS),
            rule(22, 6, group=FRIENDS, protocol="tcp", first=22, last=22),
            rule(23, 6, egress=True, group=WEB),
        ),
    ),
    GroupSpec(uuid=FRIENDS, members=("10.0.0.12", "10.0.0.9", "fd00:a::12")),
)


def port(number: int, network: str, *addresses: tuple[str, str], **more: object) -> PortSpec:
    return PortSpec(
        uuid=uuid(4, number), network=network, device=uuid(5, number), mac=f"FA:16:3E:00:00:{number:02X}",
        addresses=tuple(PortAddress(subnet=subnet, ip=ip) for subnet, ip in addresses),
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


A = port(0x0A, RED, (RED4, "10.0.0.10"), (RED6, "fd00:a::10"), groups=(WEB,))
B = port(
    0x0B, RED, (RED4, "10.0.0.11"), groups=(INNER, WEB),
    pairs=(
        AddressPair(cidr="10.0.0.200"), AddressPair(cidr="10.0.1.0/24"), AddressPair(cidr="10.0.1.0/25"),
        AddressPair(cidr="10.0.0.201/32", mac="FA:16:3E:77:00:01"), AddressPair(cidr="fd00:b::/64"),
    ),
)  # fmt: skip
OPEN = port(0x0C, RED, (RED4, "10.0.0.12"), security=False)
DISABLED = port(0x0D, RED, (RED4, "10.0.0.13"), enabled=False, groups=(WEB,))
LONELY = port(0x0E, FLAT, (FLAT4, "198.51.100.14"))

SPEC = NetworkingSpec(
    uuid=uuid(0, 1),
    underlay=Underlay(vtep="192.0.2.1", vteps=("192.0.2.3", "192.0.2.2"), physnets={"ext": "eth1"}),
    networks=(
        NetworkSpec(
            uuid=RED, type=SegmentType.VXLAN, segment=1001, mtu=1450,
            subnets=(
                SubnetSpec(id=RED4, cidr="10.0.0.0/24", gateway="10.0.0.1", dhcp=True, service_ip="10.0.0.2"),
                SubnetSpec(id=RED6, cidr="fd00:a::/64", gateway="fd00:a::1", dhcp=True, service_ip="fd00:a::2"),
            ),
        ),
        NetworkSpec(
            uuid=FLAT, type=SegmentType.FLAT, segment=None, physnet="ext", mtu=1500,
            subnets=(SubnetSpec(id=FLAT4, cidr="198.51.100.0/24", gateway=None, dhcp=False, service_ip=None),),
        ),
    ),
    ports=(A, B, OPEN, DISABLED, LONELY),
    groups=GROUPS,
    routers=(RouterSpec(uuid=uuid(8, 1), legs=(LEG,)),),
)  # fmt: skip

DOCUMENT = Document(SPEC)
ZONES = {RED: 23808, FLAT: 23810}
