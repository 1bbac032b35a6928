"""What a host is told of its networking: the database as it is, seen from one host.

A host gets the networks its guests' ports are on, those that routers join to them, and for each where the others'
ports are. Everything is read in a handful of queries, however many ports there are, and put in a fixed order, so that
the same wishes give the same digest.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlmodel import Session, col

from core.config import Config
from core.hosts.table import Host
from core.network.fabric.reach import PLUGGED, joined, ways_out
from core.network.tables import (
    DHCP,
    HOST_GATEWAY,
    ROUTER_INTERFACE,
    FixedIP,
    FloatingIP,
    Network,
    Port,
    PortSecurityGroup,
    Router,
    SecurityGroupRule,
    Subnet,
)
from core.sql import select
from hostd.spec import (
    AddressPair,
    Direction,
    FloatingSpec,
    GatewaySpec,
    GroupSpec,
    NameRecord,
    NetworkingSpec,
    NetworkSpec,
    Peer,
    PortAddress,
    PortSpec,
    RemotePort,
    Route,
    RouterLeg,
    RouterSpec,
    RuleSpec,
    SegmentType,
    SubnetSpec,
    Underlay,
    Want,
)


def document(session: Session, config: Config, host_id: str) -> NetworkingSpec:
    """The whole of a host's networking. A host that is not known (any more) shall have none."""
    host = session.get(Host, host_id, populate_existing=True)
    if host is None:
        return NetworkingSpec(uuid=host_id, want=Want.ABSENT)
    return _Builder(session, config, host).build()


def vtep(host: Host) -> str | None:
    """The host's tunnel endpoint: as set, or its SSH address when that is an IP address."""
    return _endpoint(host.vtep, host.address)


def _endpoint(*texts: str) -> str | None:
    for text in texts:
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            continue
    return None


class _Member(NamedTuple):
    """A guest's port on a network, on any host."""

    id: str
    network_id: str
    mac: str
    host_id: str
    dns_name: str


class _Builder:
    def __init__(self, session: Session, config: Config, host: Host) -> None:
        self._session = session
        self._config = config
        self._host = host
        rows = session.execute(select(Host.id, Host.vtep, Host.address)).all()
        self._vteps = {uuid: found for uuid, own, address in rows if (found := _endpoint(own, address)) is not None}

    def _all(self, table: Any, *where: Any, order: Any) -> list[Any]:
        query = select(table).where(*where).order_by(order).execution_options(populate_existing=True)
        return list(self._session.execute(query).scalars())

    def build(self) -> NetworkingSpec:
        mine = self._all(Port, col(Port.host_id) == self._host.id, PLUGGED, order=col(Port.id))
        inside = joined(self._session, {port.network_id for port in mine})
        legs = self._all(
            Port, col(Port.network_id).in_(inside), col(Port.device_owner) == ROUTER_INTERFACE, order=col(Port.id)
        )
        routers = self._all(
            Router,
            col(Router.id).in_({leg.device_id for leg in legs}),
            col(Router.admin_state_up),
            order=col(Router.id),
        )
        external = {router.external_network_id for router in routers if router.external_network_id}
        networks = self._all(Network, col(Network.id).in_(inside | external), order=col(Network.id))
        subnets = self._all(Subnet, col(Subnet.network_id).in_(inside | external), order=col(Subnet.id))
        self._down = {network.id for network in networks if not network.admin_state_up}
        self._by_id = {subnet.id: subnet for subnet in subnets}
        self._subnets_of = _grouped((subnet.network_id, subnet) for subnet in subnets)
        self._service_ips = self._served()
        self._ips = self._addresses(inside)
        members = self._members(inside)
        carriers = self._carriers(inside, members)
        specs = tuple(
            self._network(network, members[network.id], carriers.get(network.id, set())) for network in networks
        )
        groups_of = self._groups_of()
        return NetworkingSpec(
            uuid=self._host.id,
            underlay=Underlay(
                vtep=self._vteps.get(self._host.id),
                vteps=tuple(sorted({peer.vtep for spec in specs for peer in spec.peers})),
                physnets=dict(sorted(self._host.physnets.items())),
            ),
            networks=specs,
            ports=tuple(self._port(port, groups_of.get(port.id, [])) for port in mine),
            groups=self._group_specs(groups_of),
            routers=tuple(self._router(router, legs) for router in routers),
            gateways=self._gateways(ways_out(self._session, inside)),
            floating=self._floating(mine, routers),
            resolvers=tuple(server for part in self._config.dns_resolvers.split(",") if (server := part.strip())),
        )

    # ------------------------------------------------------------------ networks

    def _addresses(self, networks: set[str]) -> dict[str, list[Any]]:
        """Port to its rows of (port, address, subnet)."""
        query = (
            select(FixedIP.port_id, FixedIP.ip, FixedIP.subnet_id)
            .where(col(FixedIP.network_id).in_(networks))
            .order_by(col(FixedIP.ip))
        )
        return _grouped((row.port_id, row) for row in self._session.execute(query).all())

    def _members(self, networks: set[str]) -> dict[str, list[_Member]]:
        """Network to the guests' ports on it, on all hosts."""
        query = (
            select(Port.id, Port.network_id, Port.mac, Port.host_id, Port.dns_name)
            .where(col(Port.network_id).in_(networks), PLUGGED)
            .order_by(col(Port.id))
        )
        found: dict[str, list[_Member]] = defaultdict(list)
        for row in self._session.execute(query).all():
            member = _Member(*row)
            found[member.network_id].append(member)
        return found

    def _carriers(self, inside: set[str], members: dict[str, list[_Member]]) -> dict[str, set[str]]:
        """Network to the other hosts that carry it: those with ports in its closure of routers."""
        closures: dict[str, set[str]] = {}
        for network_id in sorted(inside):
            if network_id not in closures:
                closure = joined(self._session, {network_id})
                hosts = {member.host_id for each in closure for member in members[each]} - {self._host.id}
                closures |= dict.fromkeys(closure, hosts)
        return closures

    def _network(self, network: Network, members: list[_Member], peers: set[str]) -> NetworkSpec:
        tunnelled = network.network_type == SegmentType.VXLAN
        vteps = self._vteps if tunnelled else {}
        mine = self._host.id
        return NetworkSpec(
            uuid=network.id,
            type=SegmentType(network.network_type),
            segment=network.segmentation_id,
            physnet=network.physical_network or None,
            mtu=network.mtu,
            project_id=network.project_id,
            external=network.external,
            flood=network.flood,
            domain=network.dns_domain,
            subnets=tuple(self._subnet(subnet) for subnet in self._subnets_of.get(network.id, ())),
            peers=tuple(Peer(host=host, vtep=vteps[host]) for host in sorted(peers) if host in vteps),
            remote=tuple(
                RemotePort(mac=port.mac, vtep=vteps[port.host_id], ips=self._of(port.id))
                for port in members
                if port.host_id != mine and port.host_id in vteps
            ),
            names=tuple(
                NameRecord(name=port.dns_name, ip=ip) for port in members if port.dns_name for ip in self._of(port.id)
            ),
        )

    def _of(self, port_id: str) -> tuple[str, ...]:
        return tuple(row.ip for row in self._ips.get(port_id, ()))

    def _subnet(self, subnet: Subnet) -> SubnetSpec:
        return SubnetSpec(
            id=subnet.id,
            cidr=subnet.cidr,
            gateway=subnet.gateway_ip,
            dhcp=subnet.enable_dhcp,
            service_ip=self._service_ips.get(subnet.id) if subnet.enable_dhcp else None,
            dns_servers=tuple(subnet.dns_nameservers),
            routes=_routes(subnet.host_routes),
            advertise=subnet.ip_version == 6 and subnet.ipv6_mode is not None,
        )

    def _served(self) -> dict[str, str]:
        """Subnet to its DHCP server's address."""
        query = select(FixedIP.subnet_id, FixedIP.ip).where(
            col(FixedIP.subnet_id).in_(self._by_id),
            col(FixedIP.port_id) == col(Port.id),
            col(Port.device_owner) == DHCP,
        )
        return dict(self._session.execute(query.order_by(col(FixedIP.ip).desc())).all())

    # ------------------------------------------------------------------ ports and their groups

    def _port(self, port: Port, groups: list[str]) -> PortSpec:
        return PortSpec(
            uuid=port.id,
            network=port.network_id,
            device=port.device_id,
            mac=port.mac,
            addresses=tuple(PortAddress(subnet=row.subnet_id, ip=row.ip) for row in self._ips.get(port.id, ())),
            hostname=port.dns_name,
            enabled=port.admin_state_up and port.network_id not in self._down,
            security=port.port_security_enabled,
            groups=tuple(sorted(groups)),
            pairs=tuple(
                AddressPair(cidr=pair["ip_address"], mac=pair.get("mac_address")) for pair in port.allowed_address_pairs
            ),
            ingress_kbit=port.ingress_kbit,
            egress_kbit=port.egress_kbit,
        )

    def _groups_of(self) -> dict[str, list[str]]:
        """Port of this host to its security groups."""
        query = select(PortSecurityGroup.port_id, PortSecurityGroup.security_group_id).where(
            col(PortSecurityGroup.port_id) == col(Port.id), col(Port.host_id) == self._host.id, PLUGGED
        )
        return _grouped((port_id, group_id) for port_id, group_id in self._session.execute(query).all())

    def _group_specs(self, groups_of: dict[str, list[str]]) -> tuple[GroupSpec, ...]:
        used = {group for groups in groups_of.values() for group in groups}
        rules = self._all(
            SecurityGroupRule,
            col(SecurityGroupRule.security_group_id).in_(used),
            order=col(SecurityGroupRule.id),
        )
        rules_of = _grouped((rule.security_group_id, rule) for rule in rules)
        named = {rule.remote_group_id for rule in rules if rule.remote_group_id}
        members: dict[str, set[str]] = defaultdict(set)
        rows = self._session.execute(
            select(PortSecurityGroup.security_group_id, FixedIP.ip, Port.allowed_address_pairs).where(
                col(PortSecurityGroup.security_group_id).in_(named),
                col(FixedIP.port_id) == col(PortSecurityGroup.port_id),
                col(Port.id) == col(FixedIP.port_id),
                PLUGGED,
            )
        ).all()
        for group_id, ip, pairs in rows:
            members[group_id].add(ip)
            members[group_id].update(pair["ip_address"] for pair in pairs if "/" not in pair["ip_address"])
        return tuple(
            GroupSpec(
                uuid=group,
                rules=tuple(_rule(rule) for rule in rules_of.get(group, ())),
                members=tuple(sorted(members.get(group, ()))),
            )
            for group in sorted(used | named)
        )

    # ------------------------------------------------------------------ routers

    def _router(self, router: Router, legs: list[Port]) -> RouterSpec:
        return RouterSpec(
            uuid=router.id,
            legs=tuple(
                RouterLeg(
                    port=leg.id,
                    network=leg.network_id,
                    mac=leg.mac,
                    addresses=tuple(
                        f"{row.ip}/{_length(self._by_id[row.subnet_id])}" for row in self._ips.get(leg.id, ())
                    ),
                )
                for leg in legs
                if leg.device_id == router.id
            ),
            external=router.external_network_id,
            snat=router.enable_snat,
            routes=_routes(router.routes),
        )

    def _gateways(self, networks: set[str]) -> tuple[GatewaySpec, ...]:
        """The addresses that guests here are seen as on these external networks."""
        query = (
            select(Port.network_id, Port.mac, FixedIP.ip, FixedIP.subnet_id)
            .where(
                col(Port.network_id).in_(networks),
                col(Port.device_owner) == HOST_GATEWAY,
                col(Port.device_id) == self._host.id,
                col(FixedIP.port_id) == col(Port.id),
            )
            .order_by(col(Port.network_id), col(FixedIP.ip))
        )
        return tuple(
            GatewaySpec(
                network=network_id,
                address=f"{ip}/{_length(self._by_id[subnet_id])}",
                mac=mac,
                nexthop=self._by_id[subnet_id].gateway_ip,
            )
            for network_id, mac, ip, subnet_id in self._session.execute(query).all()
        )

    def _floating(self, mine: list[Port], routers: list[Router]) -> tuple[FloatingSpec, ...]:
        ways = {(router.id, router.external_network_id) for router in routers}
        rows = self._session.execute(
            select(FloatingIP, Subnet)
            .where(
                col(FloatingIP.port_id).in_({port.id for port in mine}),
                col(FixedIP.network_id) == col(FloatingIP.network_id),
                col(FixedIP.ip) == col(FloatingIP.address),
                col(Subnet.id) == col(FixedIP.subnet_id),
            )
            .order_by(col(FloatingIP.id))
            .execution_options(populate_existing=True)
        ).all()
        return tuple(
            FloatingSpec(
                uuid=row.id,
                router=row.router_id,
                network=row.network_id,
                address=row.address,
                prefix=_length(subnet),
                nexthop=subnet.gateway_ip,
                fixed=row.fixed_ip,
                port=row.port_id,
            )
            for row, subnet in rows
            if (row.router_id, row.network_id) in ways and row.fixed_ip is not None and row.port_id is not None
        )


def _grouped(pairs: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def _routes(routes: list[dict[str, str]]) -> tuple[Route, ...]:
    return tuple(Route(destination=route["destination"], nexthop=route["nexthop"]) for route in routes)


def _length(subnet: Subnet) -> int:
    return ipaddress.ip_network(subnet.cidr).prefixlen


def _rule(rule: SecurityGroupRule) -> RuleSpec:
    return RuleSpec(
        uuid=rule.id,
        direction=Direction(rule.direction),
        version=4 if rule.ethertype == "IPv4" else 6,
        protocol=rule.protocol,
        first=rule.port_range_min,
        last=rule.port_range_max,
        cidr=rule.remote_ip_prefix,
        group=rule.remote_group_id,
    )
