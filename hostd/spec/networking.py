"""The networking of one host, as one document: everything it shall carry of its projects' networks.

A document is whole: what it does not name, and carries our mark, goes. It holds what this host can reach
and nothing more: the networks its ports are on, those that their routers join, and where the other hosts'
ports of these networks are. Its object is the host itself (kind `networking`, uuid of the host).
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from hostd.spec.desired import Want


class SegmentType(StrEnum):
    """How a network's frames travel between hosts (neutron's provider:network_type)."""

    VXLAN = "vxlan"
    VLAN = "vlan"
    FLAT = "flat"


class Direction(StrEnum):
    """Of traffic, seen from the guest."""

    INGRESS = "ingress"
    EGRESS = "egress"


@attrs.frozen(kw_only=True)
class Underlay:
    """How this host and the others reach each other."""

    vtep: str | None = None
    """This host's tunnel endpoint; None for a host without tunnels."""
    vteps: tuple[str, ...] = ()
    """Those of the hosts that share a network with it: VXLAN is taken from these alone."""
    physnets: dict[str, str] = attrs.field(factory=dict)
    """Physical network to the interface (or bridge) of this host that leads there."""


@attrs.frozen(kw_only=True)
class Route:
    destination: str
    """CIDR."""
    nexthop: str


@attrs.frozen(kw_only=True)
class SubnetSpec:
    id: str
    cidr: str
    """IPv4 or IPv6."""
    gateway: str | None
    dhcp: bool
    """IPv4: leases. IPv6: stateless DHCPv6, for the DNS servers."""
    service_ip: str | None
    """Where DHCP, DNS and metadata answer; the same on every host. None without DHCP."""
    dns_servers: tuple[str, ...] = ()
    """The user's own; empty: the service address, which forwards to the cloud's."""
    routes: tuple[Route, ...] = ()
    """The user's host routes; the default route and the metadata route are hostd's to add."""
    advertise: bool = False
    """IPv6: routers announce the prefix and guests configure themselves (SLAAC)."""


@attrs.frozen(kw_only=True)
class RemotePort:
    """A port of the same network on another host."""

    mac: str
    vtep: str
    ips: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Peer:
    """Another host that carries the network."""

    host: str
    """Its uuid: the MAC its routers use towards other hosts is derived from it."""
    vtep: str


@attrs.frozen(kw_only=True)
class NameRecord:
    """What DNS answers on a network."""

    name: str
    ip: str


@attrs.frozen(kw_only=True)
class NetworkSpec:
    """One network's share on this host."""

    uuid: str
    type: SegmentType
    segment: int | None
    """VNI, or VLAN id; None for flat."""
    physnet: str | None = None
    """For vlan and flat."""
    mtu: int
    project_id: str = ""
    external: bool = False
    """Routers may have their gateway here; it gets no service leg."""
    flood: bool = False
    """ARP goes to every peer instead of being answered here: for addresses that move between ports (VIPs)."""
    domain: str = ""
    """DNS domain of its guests; empty: none."""
    subnets: tuple[SubnetSpec, ...] = ()
    peers: tuple[Peer, ...] = ()
    remote: tuple[RemotePort, ...] = ()
    names: tuple[NameRecord, ...] = ()


@attrs.frozen(kw_only=True)
class PortAddress:
    subnet: str
    ip: str


@attrs.frozen(kw_only=True)
class AddressPair:
    """Something a guest may send from, beside its own addresses (neutron's allowed_address_pairs)."""

    cidr: str
    mac: str | None = None
    """None: the port's own."""


@attrs.frozen(kw_only=True)
class PortSpec:
    """A guest's port on this host. Its tap is named after it, and is made by libvirt."""

    uuid: str
    network: str
    device: str
    """The instance."""
    mac: str
    addresses: tuple[PortAddress, ...] = ()
    hostname: str = ""
    enabled: bool = True
    """admin_state_up: a disabled port passes nothing."""
    security: bool = True
    """port_security_enabled: anti-spoofing and security groups. Without it everything passes."""
    groups: tuple[str, ...] = ()
    """Security groups of `NetworkingSpec.groups`; a port with security and no group passes nothing in or out."""
    pairs: tuple[AddressPair, ...] = ()
    ingress_kbit: int | None = None
    """Limit towards the guest, in kbit/s."""
    egress_kbit: int | None = None


@attrs.frozen(kw_only=True)
class RuleSpec:
    """One security group rule: it allows, and nothing else does."""

    uuid: str
    direction: Direction
    version: int
    """4 or 6."""
    protocol: str | None = None
    """An IP protocol's name as neutron writes it (tcp, udp, icmp, icmpv6, sctp, …) or number; None: any."""
    first: int | None = None
    """First port, or ICMP type."""
    last: int | None = None
    """Last port, or ICMP code."""
    cidr: str | None = None
    """The other side; None with no group: anybody."""
    group: str | None = None
    """The other side: members of this security group."""


@attrs.frozen(kw_only=True)
class GroupSpec:
    """A security group that ports here use, or that their rules name."""

    uuid: str
    rules: tuple[RuleSpec, ...] = ()
    members: tuple[str, ...] = ()
    """Addresses of its ports, on all hosts; filled only where a rule names the group."""


@attrs.frozen(kw_only=True)
class RouterLeg:
    """A router's interface on a network: the same address and MAC on every host."""

    port: str
    network: str
    mac: str
    addresses: tuple[str, ...]
    """With prefix length: `10.0.0.1/24`."""


@attrs.frozen(kw_only=True)
class RouterSpec:
    uuid: str
    legs: tuple[RouterLeg, ...] = ()
    external: str | None = None
    """The external network of its gateway."""
    snat: bool = True
    routes: tuple[Route, ...] = ()


@attrs.frozen(kw_only=True)
class GatewaySpec:
    """This host's own address on an external network: what all its routers' guests are seen as."""

    network: str
    address: str
    """With prefix length: `203.0.113.207/24`."""
    mac: str
    nexthop: str | None
    """The subnet's gateway; None: only the subnet itself is reached."""


@attrs.frozen(kw_only=True)
class FloatingSpec:
    """A floating IP whose port is on this host."""

    uuid: str
    router: str
    network: str
    """The external network."""
    address: str
    prefix: int
    """Prefix length of the external subnet."""
    nexthop: str | None
    fixed: str
    port: str


@attrs.frozen(kw_only=True)
class NetworkingSpec:
    """All networking of a host. `want` absent takes everything of ours away."""

    uuid: str
    """The host's."""
    want: Want = Want.PRESENT
    underlay: Underlay = attrs.field(factory=Underlay)
    networks: tuple[NetworkSpec, ...] = ()
    ports: tuple[PortSpec, ...] = ()
    groups: tuple[GroupSpec, ...] = ()
    routers: tuple[RouterSpec, ...] = ()
    gateways: tuple[GatewaySpec, ...] = ()
    floating: tuple[FloatingSpec, ...] = ()
    resolvers: tuple[str, ...] = ()
    """DNS servers that the service addresses forward to; empty: the host's own."""
