"""What a host is told of its networking: the database as it is, seen from one host.

A host gets the networks its guests' ports are on, those that routers join to them, and for each where the others'
ports are. Everything is read in a handful of queries, however many ports there are, and put in a fixed order, so that
the same wishes give the same digest.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlmodel import Session, col

from core.config import Config
from core.hosts.hosts import Host
from core.network.fabric.touching import joined
from core.network.tables import (
    DHCP,
    GUEST,
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
    for text in (host.vtep, host.address):
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            continue
    return None


class _Builder:
    def __init__(self, session: Session, config: Config, host: Host) -> None:
        self._session = session
        self._config = config
        self._host = host
        self._vteps = {row.id: found for row in self._all(Host) if (found := vtep(row)) is not None}

    def _all(self, table: Any, *where: Any, order: Any = None) -> list[Any]:
        query = select(table).where(*where).execution_options(populate_existing=True)
        return list(self._session.execute(query.order_by(order) if order is not None else query).scalars())

    def build(self) -> NetworkingSpec:
        mine = self._all(
            Port, col(Port.host_id) == self._host.id, col(Port.device_owner).startswith(GUEST), order=col(Port.id)
        )
        inside = joined(self._session, {port.network_id for port in mine})
        ports = self._all(Port, col(Port.network_id).in_(inside), order=col(Port.id))
        routers = self._routers(ports)
        external = {router.external_network_id for router in routers if router.external_network_id}
        networks = self._all(Network, col(Network.id).in_(inside | external), order=col(Network.id))
        subnets = self._all(Subnet, col(Subnet.network_id).in_(inside | external), order=col(Subnet.id))
        self._ips = self._addresses(inside | external)
        self._subnets_of = _grouped((subnet.network_id, subnet) for subnet in subnets)
        self._by_id = {subnet.id: subnet for subnet in subnets}
        groups_of = self._groups_of(mine)
        carriers = self._carriers(inside)
        return NetworkingSpec(
            uuid=self._host.id,
            underlay=Underlay(
                vtep=self._vteps.get(self._host.id),
                vteps=tuple(sorted(found for uuid, found in self._vteps.items() if uuid != self._host.id)),
                physnets=dict(sorted(self._host.physnets.items())),
            ),
            networks=tuple(self._network(network, ports, carriers=carriers) for network in networks),
            ports=tuple(self._port(port, groups_of.get(port.id, [])) for port in mine),
            groups=self._group_specs(groups_of),
            routers=tuple(self._router(router, ports) for router in routers),
            gateways=tuple(gateway for network in sorted(external) for gateway in self._gateways(network)),
            floating=self._floating(mine, routers),
            resolvers=tuple(server for part in self._config.dns_resolvers.split(",") if (server := part.strip())),
        )

    # ------------------------------------------------------------------ networks

    def _addresses(self, networks: set[str]) -> dict[str, list[FixedIP]]:
        rows = self._all(FixedIP, col(FixedIP.network_id).in_(networks), order=col(FixedIP.ip))
        return _grouped((row.port_id, row) for row in rows)

    def _carriers(self, inside: set[str]) -> dict[str, set[str]]:
        """Network to the hosts that carry it, itself not included: those with ports in its closure of routers."""
        rows = self._session.execute(
            select(Port.network_id, Port.host_id)
            .where(
                col(Port.network_id).in_(inside),
                col(Port.host_id).is_not(None),
                col(Port.device_owner).startswith(GUEST),
            )
            .distinct()
        ).all()
        on: dict[str, set[str]] = defaultdict(set)
        for network_id, host_id in rows:
            on[network_id].add(host_id)
        closures: dict[str, set[str]] = {}
        for network_id in sorted(inside):
            if network_id not in closures:
                closure = joined(self._session, {network_id})
                hosts = {host for member in closure for host in on.get(member, ())} - {self._host.id}
                closures |= dict.fromkeys(closure, hosts)
        return closures

    def _network(self, network: Network, ports: list[Port], *, carriers: dict[str, set[str]]) -> NetworkSpec:
        tunnelled = network.network_type == SegmentType.VXLAN
        members = [port for port in ports if port.network_id == network.id and port.device_owner.startswith(GUEST)]
        remote = [port for port in members if port.host_id not in (None, self._host.id)] if tunnelled else []
        peers = carriers.get(network.id, set()) if tunnelled else set()
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
            peers=tuple(Peer(host=host, vtep=self._vteps[host]) for host in sorted(peers) if host in self._vteps),
            remote=tuple(
                RemotePort(mac=port.mac, vtep=self._vteps[port.host_id], ips=self._of(port))
                for port in remote
                if port.host_id in self._vteps
            ),
            names=tuple(
                NameRecord(name=port.dns_name, ip=ip) for port in members if port.dns_name for ip in self._of(port)
            ),
        )

    def _of(self, port: Port) -> tuple[str, ...]:
        return tuple(row.ip for row in self._ips.get(port.id, ()))

    def _subnet(self, subnet: Subnet) -> SubnetSpec:
        six = subnet.ip_version == 6
        return SubnetSpec(
            id=subnet.id,
            cidr=subnet.cidr,
            gateway=subnet.gateway_ip,
            dhcp=subnet.enable_dhcp,
            service_ip=self._service_ip(subnet.id) if subnet.enable_dhcp else None,
            dns_servers=tuple(subnet.dns_nameservers),
            routes=_routes(subnet.host_routes),
            advertise=six and subnet.ipv6_mode is not None,
        )

    def _service_ip(self, subnet_id: str) -> str | None:
        return self._session.execute(
            select(FixedIP.ip)
            .where(
                col(FixedIP.subnet_id) == subnet_id,
                col(FixedIP.port_id) == col(Port.id),
                col(Port.device_owner) == DHCP,
            )
            .limit(1)
        ).scalar_one_or_none()

    # ------------------------------------------------------------------ ports and their groups

    def _port(self, port: Port, groups: list[str]) -> PortSpec:
        return PortSpec(
            uuid=port.id,
            network=port.network_id,
            device=port.device_id,
            mac=port.mac,
            addresses=tuple(PortAddress(subnet=row.subnet_id, ip=row.ip) for row in self._ips.get(port.id, ())),
            hostname=port.dns_name,
            enabled=port.admin_state_up,
            security=port.port_security_enabled,
            groups=tuple(sorted(groups)),
            pairs=tuple(
                AddressPair(cidr=pair["ip_address"], mac=pair.get("mac_address")) for pair in port.allowed_address_pairs
            ),
            ingress_kbit=port.ingress_kbit,
            egress_kbit=port.egress_kbit,
        )

    def _groups_of(self, ports: list[Port]) -> dict[str, list[str]]:
        rows = self._session.execute(
            select(PortSecurityGroup.port_id, PortSecurityGroup.security_group_id).where(
                col(PortSecurityGroup.port_id) == col(Port.id), col(Port.host_id) == self._host.id
            )
        ).all()
        mine = {port.id for port in ports}
        return _grouped((port_id, group_id) for port_id, group_id in rows if port_id in mine)

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

    def _routers(self, ports: list[Port]) -> list[Router]:
        ids = {port.device_id for port in ports if port.device_owner == ROUTER_INTERFACE}
        return self._all(Router, col(Router.id).in_(ids), col(Router.admin_state_up), order=col(Router.id))

    def _router(self, router: Router, ports: list[Port]) -> RouterSpec:
        legs = [port for port in ports if port.device_owner == ROUTER_INTERFACE and port.device_id == router.id]
        return RouterSpec(
            uuid=router.id,
            legs=tuple(
                RouterLeg(
                    port=port.id,
                    network=port.network_id,
                    mac=port.mac,
                    addresses=tuple(
                        f"{row.ip}/{_length(self._by_id[row.subnet_id])}" for row in self._ips.get(port.id, ())
                    ),
                )
                for port in legs
            ),
            external=router.external_network_id,
            snat=router.enable_snat,
            routes=_routes(router.routes),
        )

    def _gateways(self, network_id: str) -> Iterable[GatewaySpec]:
        own = self._all(
            Port,
            col(Port.network_id) == network_id,
            col(Port.device_owner) == HOST_GATEWAY,
            col(Port.device_id) == self._host.id,
            order=col(Port.id),
        )
        for port in own:
            for row in self._ips.get(port.id, ()):
                subnet = self._by_id[row.subnet_id]
                yield GatewaySpec(
                    network=network_id, address=f"{row.ip}/{_length(subnet)}", mac=port.mac, nexthop=subnet.gateway_ip
                )

    def _floating(self, mine: list[Port], routers: list[Router]) -> tuple[FloatingSpec, ...]:
        live = {router.id for router in routers}
        rows = self._session.execute(
            select(FloatingIP, Subnet)
            .where(
                col(FloatingIP.port_id).in_({port.id for port in mine}),
                col(FixedIP.network_id) == col(FloatingIP.network_id),
                col(FixedIP.ip) == col(FloatingIP.address),
                col(Subnet.id) == col(FixedIP.subnet_id),
            )
            .order_by(col(FloatingIP.id))
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
            if row.router_id in live and row.fixed_ip is not None and row.port_id is not None
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
