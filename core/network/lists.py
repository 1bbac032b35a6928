"""How the network's nouns are listed. Who sees a network is what its owner and RBAC policies say; everything else is
its project's alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Select, String, case, cast, func, literal
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.context import Context
from core.hosts.table import Host
from core.identity.projects import Project
from core.listing import Listing, Row, of_project, own
from core.network.fabric import NetworkingPending
from core.network.networks import reachable
from core.network.tables import (
    ROUTER_GATEWAY,
    ROUTER_INTERFACE,
    FixedIP,
    FloatingIP,
    Network,
    Port,
    PortSecurityGroup,
    RbacPolicy,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)
from core.sql import select

_AT_ONCE = 500
"""Values of one IN list: databases limit them."""


def _found(session: Session, query: Select[Any], column: Any, rows: list[Row], key: str = "id") -> Iterator[Any]:
    """What `query` finds where `column` is the `key` of one of these rows."""
    wanted = [row[key] for row in rows]
    for start in range(0, len(wanted), _AT_ONCE):
        yield from session.execute(query.where(column.in_(wanted[start : start + _AT_ONCE])))


def _count(column: Any, whose: Any, *where: Any) -> Any:
    """How many rows have `whose` in `column`."""
    return select(func.count()).where(column == whose, *where).correlate(whose.class_).scalar_subquery()


def _with_pending(session: Session, rows: list[Row]) -> None:
    """`pending`: names of the hosts that have not confirmed the object yet."""
    query = (
        select(NetworkingPending.object_id, Host.name)
        .where(col(Host.id) == col(NetworkingPending.host_id))
        .order_by(col(Host.name))
    )
    found: dict[str, list[str]] = {}
    for object_id, name in _found(session, query, col(NetworkingPending.object_id), rows):
        found.setdefault(object_id, []).append(name)
    for row in rows:
        row["pending"] = found.get(row["id"], [])


# ---------------------------------------------------------------------------- networks


def _with_subnets(session: Session, rows: list[Row]) -> None:
    """Ids and blocks of each network's subnets, in the order they were made."""
    query = select(Subnet.network_id, Subnet.id, Subnet.cidr).order_by(col(Subnet.created_at), col(Subnet.id))
    found: dict[str, list[tuple[str, str]]] = {}
    for network_id, subnet_id, cidr in _found(session, query, col(Subnet.network_id), rows):
        found.setdefault(network_id, []).append((subnet_id, cidr))
    for row in rows:
        mine = found.get(row["id"], [])
        row["subnets"], row["cidrs"] = [id for id, _ in mine], [cidr for _, cidr in mine]


_cidr = (
    select(func.min(Subnet.cidr)).where(col(Subnet.network_id) == col(Network.id)).correlate(Network).scalar_subquery()
)

NETWORKS = Listing(
    kind="network",
    rule="network:list",
    columns={
        "id": col(Network.id),
        "name": col(Network.name),
        "cidr": func.coalesce(_cidr, ""),
        "status": col(Network.status),
        "admin_state_up": col(Network.admin_state_up),
        "mtu": col(Network.mtu),
        "shared": col(Network.shared),
        "external": col(Network.external),
        "is_default": col(Network.is_default),
        "network_type": col(Network.network_type),
        "physical_network": col(Network.physical_network),
        "segmentation_id": col(Network.segmentation_id),
        "port_security_enabled": col(Network.port_security_enabled),
        "dns_domain": col(Network.dns_domain),
        "flood": col(Network.flood),
        "ports": _count(col(Port.network_id), col(Network.id)),
        "description": col(Network.description),
        "project": col(Project.name),
        "project_id": col(Network.project_id),
        "created_at": col(Network.created_at),
    },
    source=of_project(Network),
    scope=lambda ctx: True if ctx.all_projects else reachable(ctx.project_id),
    search=("name", "id", "cidr"),
    enrich=_with_subnets,
)


def _of_reachable_networks(ctx: Context) -> Any:
    if ctx.all_projects:
        return True
    return col(Subnet.network_id).in_(select(Network.id).where(reachable(ctx.project_id)).correlate(None))


SUBNETS = Listing(
    kind="subnet",
    rule="network:list",
    columns={
        "id": col(Subnet.id),
        "name": col(Subnet.name),
        "network": col(Network.name),
        "network_id": col(Subnet.network_id),
        "cidr": col(Subnet.cidr),
        "ip_version": col(Subnet.ip_version),
        "gateway_ip": col(Subnet.gateway_ip),
        "enable_dhcp": col(Subnet.enable_dhcp),
        "ipv6_mode": col(Subnet.ipv6_mode),
        "allocation_pools": col(Subnet.allocation_pools),
        "dns_nameservers": col(Subnet.dns_nameservers),
        "host_routes": col(Subnet.host_routes),
        "used": _count(col(FixedIP.subnet_id), col(Subnet.id)),
        "description": col(Subnet.description),
        "project": func.coalesce(col(Project.name), ""),
        "project_id": col(Subnet.project_id),
        "created_at": col(Subnet.created_at),
    },
    source=lambda query: of_project(Subnet)(query).join(Network, col(Network.id) == col(Subnet.network_id)),
    scope=_of_reachable_networks,
    search=("name", "id", "cidr"),
)

RBAC_POLICIES = Listing(
    kind="rbac_policy",
    rule="network:list",
    columns={
        "id": col(RbacPolicy.id),
        "object_type": col(RbacPolicy.object_type),
        "object_id": col(RbacPolicy.object_id),
        "network": col(Network.name),
        "action": col(RbacPolicy.action),
        "target_project": col(RbacPolicy.target_project),
        "project_id": col(RbacPolicy.project_id),
        "created_at": col(RbacPolicy.created_at),
    },
    source=lambda query: query.select_from(RbacPolicy).join(Network, col(Network.id) == col(RbacPolicy.object_id)),
    scope=own(col(RbacPolicy.project_id)),
    name="network",
    search=("network", "id", "target_project"),
    sort="network,created_at",
)


# ---------------------------------------------------------------------------- ports


def _with_addresses(session: Session, rows: list[Row]) -> None:
    """Each port's addresses and security groups: `fixed_ips` [{subnet_id, ip_address}, …], and `security_groups` and
    `security_group_ids`, in one order."""
    addresses = select(FixedIP.port_id, FixedIP.subnet_id, FixedIP.ip).order_by(col(FixedIP.ip))
    groups = (
        select(PortSecurityGroup.port_id, SecurityGroup.id, SecurityGroup.name)
        .where(col(SecurityGroup.id) == col(PortSecurityGroup.security_group_id))
        .order_by(col(SecurityGroup.name), col(SecurityGroup.id))
    )
    by_id = {row["id"]: row for row in rows}
    for row in rows:
        row["fixed_ips"], row["security_groups"], row["security_group_ids"] = [], [], []
    for port_id, subnet_id, ip in _found(session, addresses, col(FixedIP.port_id), rows):
        by_id[port_id]["fixed_ips"].append({"subnet_id": subnet_id, "ip_address": ip})
    for port_id, group_id, name in _found(session, groups, col(PortSecurityGroup.port_id), rows):
        by_id[port_id]["security_groups"].append(name)
        by_id[port_id]["security_group_ids"].append(group_id)


def _with_wiring(session: Session, rows: list[Row]) -> None:
    """Beside addresses and groups: `floating_ips`, their addresses, and `pending`."""
    _with_addresses(session, rows)
    query = select(FloatingIP.port_id, FloatingIP.address).order_by(col(FloatingIP.address))
    found: dict[str, list[str]] = {}
    for port_id, address in _found(session, query, col(FloatingIP.port_id), rows):
        found.setdefault(port_id, []).append(address)
    for row in rows:
        row["floating_ips"] = found.get(row["id"], [])
    _with_pending(session, rows)


_ip = select(func.min(FixedIP.ip)).where(col(FixedIP.port_id) == col(Port.id)).correlate(Port).scalar_subquery()

PORTS = Listing(
    kind="port",
    rule="network:list",
    columns={
        "id": col(Port.id),
        "name": col(Port.name),
        "label": func.coalesce(func.nullif(col(Port.name), ""), _ip, func.substr(col(Port.id), 1, 8)),
        "mac": col(Port.mac),
        "ip": func.coalesce(_ip, ""),
        "status": col(Port.status),
        "admin_state_up": col(Port.admin_state_up),
        "network": col(Network.name),
        "network_id": col(Port.network_id),
        "device_owner": col(Port.device_owner),
        "device_id": col(Port.device_id),
        "device": func.coalesce(col(Instance.name), col(Router.name), ""),
        "host": func.coalesce(col(Host.name), ""),
        "port_security_enabled": col(Port.port_security_enabled),
        "allowed_address_pairs": col(Port.allowed_address_pairs),
        "ingress_kbit": col(Port.ingress_kbit),
        "egress_kbit": col(Port.egress_kbit),
        "dns_name": col(Port.dns_name),
        "description": col(Port.description),
        "project": func.coalesce(col(Project.name), ""),
        "project_id": col(Port.project_id),
        "created_at": col(Port.created_at),
    },
    source=lambda query: (
        of_project(Port)(query)
        .join(Network, col(Network.id) == col(Port.network_id))
        .outerjoin(Instance, col(Instance.id) == col(Port.device_id))
        .outerjoin(Router, col(Router.id) == col(Port.device_id))
        .outerjoin(Host, col(Host.id) == col(Port.host_id))
    ),
    scope=own(col(Port.project_id)),
    search=("name", "id", "mac", "ip", "device"),
    sort="created_at",
    enrich=_with_wiring,
)


# ---------------------------------------------------------------------------- routers and floating IPs


def _with_interfaces(session: Session, rows: list[Row]) -> None:
    """`interfaces_info` [{port_id, subnet_id, ip_address}, …], `external_fixed_ips` [{subnet_id, ip_address}, …],
    `legs`, the interfaces in words: {network, network_id, subnet, cidr, status} beside those, and `pending`."""
    query = (
        select(Port.device_id, Port.device_owner, Port.id, FixedIP.subnet_id, FixedIP.ip, Port.status, Subnet, Network)
        .where(
            col(Port.device_owner).in_((ROUTER_INTERFACE, ROUTER_GATEWAY)),
            col(FixedIP.port_id) == col(Port.id),
            col(Subnet.id) == col(FixedIP.subnet_id),
            col(Network.id) == col(Port.network_id),
        )
        .order_by(col(Port.created_at), col(Port.id), col(FixedIP.ip))
    )
    by_id = {row["id"]: row for row in rows}
    for row in rows:
        row["interfaces_info"], row["external_fixed_ips"], row["legs"] = [], [], []
    for router_id, owner, port_id, subnet_id, ip, status, subnet, network in _found(
        session, query, col(Port.device_id), rows
    ):
        address = {"subnet_id": subnet_id, "ip_address": ip}
        if owner == ROUTER_GATEWAY:
            by_id[router_id]["external_fixed_ips"].append(address)
        else:
            by_id[router_id]["interfaces_info"].append({"port_id": port_id, **address})
            words = {"network": network.name, "network_id": network.id, "subnet": subnet.name, "cidr": subnet.cidr}
            by_id[router_id]["legs"].append({"port_id": port_id, **address, **words, "status": status})
    _with_pending(session, rows)


ROUTERS = Listing(
    kind="router",
    rule="router:list",
    columns={
        "id": col(Router.id),
        "name": col(Router.name),
        "status": col(Router.status),
        "admin_state_up": col(Router.admin_state_up),
        "external_network": func.coalesce(col(Network.name), ""),
        "external_network_id": col(Router.external_network_id),
        "enable_snat": col(Router.enable_snat),
        "interfaces": _count(col(Port.device_id), col(Router.id), col(Port.device_owner) == ROUTER_INTERFACE),
        "routes": col(Router.routes),
        "description": col(Router.description),
        "project": col(Project.name),
        "project_id": col(Router.project_id),
        "created_at": col(Router.created_at),
    },
    source=lambda query: of_project(Router)(query).outerjoin(
        Network, col(Network.id) == col(Router.external_network_id)
    ),
    scope=own(col(Router.project_id)),
    search=("name", "id"),
    enrich=_with_interfaces,
)

FLOATING_IPS = Listing(
    kind="floating_ip",
    rule="floating_ip:list",
    columns={
        "id": col(FloatingIP.id),
        "address": col(FloatingIP.address),
        "fixed_ip": col(FloatingIP.fixed_ip),
        "port_id": col(FloatingIP.port_id),
        "server": func.coalesce(col(Instance.name), ""),
        "network": col(Network.name),
        "network_id": col(FloatingIP.network_id),
        "router": func.coalesce(col(Router.name), ""),
        "router_id": col(FloatingIP.router_id),
        "status": col(FloatingIP.status),
        "description": col(FloatingIP.description),
        "project": col(Project.name),
        "project_id": col(FloatingIP.project_id),
        "created_at": col(FloatingIP.created_at),
    },
    source=lambda query: (
        of_project(FloatingIP)(query)
        .join(Network, col(Network.id) == col(FloatingIP.network_id))
        .outerjoin(Router, col(Router.id) == col(FloatingIP.router_id))
        .outerjoin(Port, col(Port.id) == col(FloatingIP.port_id))
        .outerjoin(Instance, col(Instance.id) == col(Port.device_id))
    ),
    scope=own(col(FloatingIP.project_id)),
    name="address",
    search=("address", "id", "server"),
    sort="address",
    enrich=_with_pending,
)


# ---------------------------------------------------------------------------- security groups

SECURITY_GROUPS = Listing(
    kind="security_group",
    rule="security_group:list",
    columns={
        "id": col(SecurityGroup.id),
        "name": col(SecurityGroup.name),
        "description": col(SecurityGroup.description),
        "rules": _count(col(SecurityGroupRule.security_group_id), col(SecurityGroup.id)),
        "ports": _count(col(PortSecurityGroup.security_group_id), col(SecurityGroup.id)),
        "project": col(Project.name),
        "project_id": col(SecurityGroup.project_id),
        "created_at": col(SecurityGroup.created_at),
    },
    source=of_project(SecurityGroup),
    scope=own(col(SecurityGroup.project_id)),
    search=("name", "id", "description"),
)

_remote = aliased(SecurityGroup)
_first, _last = col(SecurityGroupRule.port_range_min), col(SecurityGroupRule.port_range_max)
_outgoing = col(SecurityGroupRule.direction) == "egress"
_code = case((_last.is_(None), literal("")), else_=literal(" code ") + cast(_last, String))
_numbers = case(
    (_first.is_(None), literal("")),
    (col(SecurityGroupRule.protocol).in_(("icmp", "ipv6-icmp")), literal(" type ") + cast(_first, String) + _code),
    (_first == _last, literal(" ") + cast(_first, String)),
    else_=literal(" ") + cast(_first, String) + literal("-") + cast(_last, String),
)
_other = func.coalesce(
    col(SecurityGroupRule.remote_ip_prefix),
    literal("group ") + col(_remote.name),
    case((col(SecurityGroupRule.ethertype) == "IPv6", literal("::/0")), else_=literal("0.0.0.0/0")),
)
_words = (
    case((_outgoing, literal("out ")), else_=literal("in "))
    + func.coalesce(col(SecurityGroupRule.protocol), "any")
    + _numbers
    + case((_outgoing, literal(" to ")), else_=literal(" from "))
    + _other
)

SECURITY_GROUP_RULES = Listing(
    kind="security_group_rule",
    rule="security_group:list",
    columns={
        "id": col(SecurityGroupRule.id),
        "rule": _words,
        "security_group": col(SecurityGroup.name),
        "security_group_id": col(SecurityGroupRule.security_group_id),
        "direction": col(SecurityGroupRule.direction),
        "ethertype": col(SecurityGroupRule.ethertype),
        "protocol": col(SecurityGroupRule.protocol),
        "port_range_min": col(SecurityGroupRule.port_range_min),
        "port_range_max": col(SecurityGroupRule.port_range_max),
        "remote_ip_prefix": col(SecurityGroupRule.remote_ip_prefix),
        "remote_group": func.coalesce(col(_remote.name), ""),
        "remote_group_id": col(SecurityGroupRule.remote_group_id),
        "remote": _other,
        "description": col(SecurityGroupRule.description),
        "project_id": col(SecurityGroupRule.project_id),
        "created_at": col(SecurityGroupRule.created_at),
    },
    source=lambda query: (
        query.select_from(SecurityGroupRule)
        .join(SecurityGroup, col(SecurityGroup.id) == col(SecurityGroupRule.security_group_id))
        .outerjoin(_remote, col(_remote.id) == col(SecurityGroupRule.remote_group_id))
    ),
    scope=own(col(SecurityGroupRule.project_id)),
    name="id",
    search=("rule", "security_group", "description", "id"),
    sort="security_group,direction,created_at",
)

LISTINGS: tuple[Listing, ...] = (
    NETWORKS,
    SUBNETS,
    PORTS,
    ROUTERS,
    FLOATING_IPS,
    SECURITY_GROUPS,
    SECURITY_GROUP_RULES,
    RBAC_POLICIES,
)
"""Of every noun of the network."""
