"""The tables of networking, together: nouns refer to each other, and the fabric to them all.

What the database itself holds: one port per (network, address), one per MAC, one network per segment, one default
external network, one floating IP per address and per fixed IP, one default security group per project.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Column, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from core.network import numbers

DEFAULT_MTU: Final = 1450
"""Room for VXLAN on an underlay of 1500."""

GUEST = "compute:"
"""How the device_owner of a guest's port begins; the availability zone follows."""

DHCP = "network:dhcp"
ROUTER_INTERFACE = "network:router_interface"
ROUTER_GATEWAY = "network:router_gateway"
FLOATING_IP = "network:floatingip"
HOST_GATEWAY = "network:floatingip_agent_gateway"
"""A host's own address on an external network, which its routers' guests are seen as (neutron's name, from DVR)."""


class Network(SQLModel, table=True):
    __table_args__ = (
        Index("one_network_per_segment", "network_type", "physical_network", "segmentation_id", unique=True),
        Index(
            "one_flat_network_per_physical_network",
            "physical_network",
            unique=True,
            sqlite_where=text("network_type = 'flat'"),
            postgresql_where=text("network_type = 'flat'"),
        ),
        Index(
            "one_default_external_network",
            "is_default",
            unique=True,
            sqlite_where=text("is_default"),
            postgresql_where=text("is_default"),
        ),
    )

    id: str = Field(primary_key=True)
    name: str
    project_id: str = Field(foreign_key="project.id", index=True)
    status: str = "ACTIVE"
    """ACTIVE DOWN BUILD ERROR, as neutron writes them."""
    admin_state_up: bool = True
    mtu: int = DEFAULT_MTU
    description: str = ""
    shared: bool = False
    """Every project may use it: an RBAC policy names everybody. For some projects only: policies alone."""
    network_type: str = "vxlan"
    """vxlan, vlan or flat (provider:network_type)."""
    physical_network: str = ""
    """provider:physical_network, for vlan and flat."""
    segmentation_id: int | None = None
    """VNI or VLAN id; None for flat."""
    external: bool = False
    """router:external: routers may have their gateway here. Who sees it as that is what RBAC policies say."""
    is_default: bool = False
    """The external network that new projects' routers go out by; at most one."""
    port_security_enabled: bool = True
    """What its ports get."""
    dns_domain: str = ""
    flood: bool = False
    """ARP goes to every host, for addresses that move between guests (VIPs)."""
    created_at: int = Field(sa_type=BigInteger)


class Subnet(SQLModel, table=True):
    id: str = Field(primary_key=True)
    name: str
    network_id: str = Field(foreign_key="network.id", index=True)
    project_id: str = Field(index=True)
    cidr: str
    ip_version: int = 4
    gateway_ip: str | None = None
    enable_dhcp: bool = True
    allocation_pools: list[list[str]] = Field(default_factory=list, sa_column=Column(JSON))
    """[[first, last], …], both included."""
    dns_nameservers: list[str] = Field(default_factory=list, sa_column=Column(JSON))
    host_routes: list[dict[str, str]] = Field(default_factory=list, sa_column=Column(JSON))
    """[{destination, nexthop}, …]"""
    ipv6_mode: str | None = None
    """For IPv6 with addresses from router advertisements (ipv6_ra_mode = ipv6_address_mode): slaac or
    dhcpv6-stateless; None: the address is the guest's own business, or nobody advertises."""
    description: str = ""
    created_at: int = Field(sa_type=BigInteger)


class Port(SQLModel, table=True):
    __table_args__ = (Index("port_on_network", "network_id", "device_owner", "host_id"),)

    id: str = Field(primary_key=True)
    name: str = ""
    project_id: str = Field(index=True)
    network_id: str = Field(foreign_key="network.id")
    mac: str = Field(unique=True)
    status: str = "DOWN"
    """DOWN until wired, ACTIVE, DOWN again when unbound."""
    device_id: str = Field(default="", index=True)
    """The instance, for guests' ports."""
    device_owner: str = ""
    """`compute:<zone>` or `network:dhcp`."""
    host_id: str | None = Field(default=None, index=True)
    """Where it is bound."""
    dns_name: str = ""
    description: str = ""
    admin_state_up: bool = True
    port_security_enabled: bool = True
    allowed_address_pairs: list[dict[str, str]] = Field(default_factory=list, sa_column=Column(JSON))
    """[{ip_address: CIDR or address, mac_address?}, …]"""
    ingress_kbit: int | None = None
    """Bandwidth limit towards the guest, kbit/s."""
    egress_kbit: int | None = None
    made_for_device: bool = False
    """Made by a launch or an attach, and gone with the instance; a user's own port outlives it."""
    created_at: int = Field(sa_type=BigInteger)


def _number(context: Any) -> int | None:
    return numbers.of_address(context.get_current_parameters()["ip"])


class FixedIP(SQLModel, table=True):
    """One address of one port."""

    __tablename__ = "fixed_ip"
    __table_args__ = (
        UniqueConstraint("network_id", "ip", name="one_port_per_address"),
        Index("fixed_ip_in_order", "subnet_id", "number"),
    )

    port_id: str = Field(primary_key=True, foreign_key="port.id", ondelete="CASCADE")
    ip: str = Field(primary_key=True)
    subnet_id: str = Field(foreign_key="subnet.id")
    network_id: str
    number: int | None = Field(default=None, sa_column=Column(BigInteger, default=_number))
    """`numbers.of_address` of `ip`, filled in by itself: the next free address is found by it."""


class PortSecurityGroup(SQLModel, table=True):
    """Which security groups a port is in."""

    __tablename__ = "port_security_group"

    port_id: str = Field(primary_key=True, foreign_key="port.id", ondelete="CASCADE")
    security_group_id: str = Field(primary_key=True, foreign_key="security_group.id", index=True)


class SecurityGroup(SQLModel, table=True):
    __tablename__ = "security_group"
    __table_args__ = (
        Index(
            "one_default_group_per_project",
            "project_id",
            unique=True,
            sqlite_where=text("name = 'default'"),
            postgresql_where=text("name = 'default'"),
        ),
    )

    id: str = Field(primary_key=True)
    name: str
    project_id: str = Field(foreign_key="project.id", index=True)
    description: str = ""
    created_at: int = Field(sa_type=BigInteger)


class SecurityGroupRule(SQLModel, table=True):
    """Something that is allowed."""

    __tablename__ = "security_group_rule"

    id: str = Field(primary_key=True)
    security_group_id: str = Field(foreign_key="security_group.id", index=True, ondelete="CASCADE")
    project_id: str = Field(index=True)
    direction: str
    """ingress or egress."""
    ethertype: str
    """IPv4 or IPv6."""
    protocol: str | None = None
    """A name neutron knows, or a number from 0 to 255; None: any."""
    port_range_min: int | None = None
    """First port, or ICMP type."""
    port_range_max: int | None = None
    """Last port, or ICMP code."""
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = Field(default=None, foreign_key="security_group.id", index=True)
    description: str = ""
    created_at: int = Field(sa_type=BigInteger)


class Router(SQLModel, table=True):
    """Its interfaces are ports (`ports.ROUTER_INTERFACE`, device_id of the router), and so is its gateway."""

    id: str = Field(primary_key=True)
    name: str
    project_id: str = Field(foreign_key="project.id", index=True)
    status: str = "ACTIVE"
    admin_state_up: bool = True
    description: str = ""
    external_network_id: str | None = Field(default=None, foreign_key="network.id", index=True)
    enable_snat: bool = True
    routes: list[dict[str, str]] = Field(default_factory=list, sa_column=Column(JSON))
    """[{destination, nexthop}, …]"""
    created_at: int = Field(sa_type=BigInteger)


class FloatingIP(SQLModel, table=True):
    """Its address is a fixed IP of a hidden port (`ports.FLOATING_IP`, device_id of this)."""

    __tablename__ = "floating_ip"
    __table_args__ = (
        UniqueConstraint("network_id", "address", name="one_floating_ip_per_address"),
        UniqueConstraint("network_id", "port_id", "fixed_ip", name="one_floating_ip_per_fixed_ip"),
    )

    id: str = Field(primary_key=True)
    project_id: str = Field(foreign_key="project.id", index=True)
    network_id: str = Field(foreign_key="network.id", index=True)
    """The external network."""
    address: str
    port_id: str | None = Field(default=None, foreign_key="port.id", index=True)
    fixed_ip: str | None = None
    router_id: str | None = Field(default=None, foreign_key="router.id", index=True)
    status: str = "DOWN"
    """DOWN until the data plane has it, ACTIVE, ERROR."""
    description: str = ""
    created_at: int = Field(sa_type=BigInteger)


class RbacPolicy(SQLModel, table=True):
    __tablename__ = "rbac_policy"
    __table_args__ = (UniqueConstraint("object_id", "action", "target_project", name="one_policy_per_target"),)

    id: str = Field(primary_key=True)
    project_id: str = Field(index=True)
    """Who shares."""
    object_type: str = "network"
    object_id: str = Field(foreign_key="network.id", index=True, ondelete="CASCADE")
    action: str
    """access_as_shared or access_as_external."""
    target_project: str
    """A project id, or `*`."""
    created_at: int = Field(sa_type=BigInteger)
