"""A networking document, checked whole and indexed: the parts read this and never the bare spec.

Everything is parsed before anything is done, so that one bad address cannot leave half a network, and
nothing reaches nft, dnsmasq or the kernel that is not an address, a number or one of our names.
"""

from __future__ import annotations

import ipaddress
import re
import uuid as uuids
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Final

import attrs

from hostd.spec import (
    FloatingSpec,
    GroupSpec,
    NetworkingSpec,
    NetworkSpec,
    PortSpec,
    RouterLeg,
    RouterSpec,
    SegmentType,
    SubnetSpec,
    Want,
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Block = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_INTERFACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,14}")
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
"""A host name after RFC 1123."""
_DOMAIN: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@attrs.frozen
class Document:
    """`Document(spec)` raises ValueError, naming the object, for what cannot be."""

    spec: NetworkingSpec

    def __attrs_post_init__(self) -> None:
        if self.spec.want is not Want.ABSENT:
            _check(self)

    @cached_property
    def present(self) -> bool:
        return self.spec.want is not Want.ABSENT

    @cached_property
    def networks(self) -> Mapping[str, NetworkSpec]:
        return {network.uuid: network for network in self.spec.networks}

    @cached_property
    def subnets(self) -> Mapping[str, SubnetSpec]:
        return {subnet.id: subnet for network in self.spec.networks for subnet in network.subnets}

    @cached_property
    def ports(self) -> Mapping[str, PortSpec]:
        return {port.uuid: port for port in self.spec.ports}

    @cached_property
    def ports_of(self) -> Mapping[str, tuple[PortSpec, ...]]:
        """Network to its ports here; every network has an entry."""
        return _grouped(self.networks, ((port.network, port) for port in self.spec.ports))

    @cached_property
    def legs_of(self) -> Mapping[str, tuple[tuple[RouterSpec, RouterLeg], ...]]:
        """Network to the routers on it, each with its leg; every network has an entry."""
        pairs = ((leg.network, (router, leg)) for router in self.spec.routers for leg in router.legs)
        return _grouped(self.networks, pairs)

    @cached_property
    def groups(self) -> Mapping[str, GroupSpec]:
        return {group.uuid: group for group in self.spec.groups}

    @cached_property
    def routers(self) -> Mapping[str, RouterSpec]:
        return {router.uuid: router for router in self.spec.routers}

    @cached_property
    def floating_of(self) -> Mapping[str, tuple[FloatingSpec, ...]]:
        """Router to its floating IPs here; every router has an entry."""
        return _grouped(self.routers, ((floating.router, floating) for floating in self.spec.floating))

    def served(self, network: NetworkSpec) -> tuple[SubnetSpec, ...]:
        """The subnets whose service address is on this network's leg."""
        return tuple(subnet for subnet in network.subnets if subnet.dhcp and subnet.service_ip is not None)


def _grouped(keys: Iterable[str], pairs: Iterable[tuple[str, object]]) -> Mapping[str, tuple]:  # type: ignore[type-arg]
    found: dict[str, list[object]] = {key: [] for key in keys}
    for key, value in pairs:
        found[key].append(value)
    return {key: tuple(values) for key, values in found.items()}


def ethernet(mac: str) -> str:
    """The hardware address in lower case. Raises ValueError when it is none."""
    if not _MAC.fullmatch(mac.lower()):
        raise ValueError(f"no hardware address: {mac!r}")
    return mac.lower()


def host_label(name: str) -> str:
    """The name, when it is one DNS label. Raises ValueError."""
    if not _LABEL.fullmatch(name):
        raise ValueError(f"no host name: {name!r}")
    return name


# ---------------------------------------------------------------------------- the checks


def _check(document: Document) -> None:
    spec = document.spec
    _unique("network", (network.uuid for network in spec.networks))
    _unique("port", (port.uuid for port in spec.ports))
    _unique("router", (router.uuid for router in spec.routers))
    uuids.UUID(spec.uuid)
    if spec.underlay.vtep is not None:
        _address(spec.underlay.vtep)
    for vtep in spec.underlay.vteps:
        _address(vtep)
    for interface in spec.underlay.physnets.values():
        if not _INTERFACE.fullmatch(interface):
            raise ValueError(f"no interface name: {interface!r}")
    for resolver in spec.resolvers:
        _address(resolver)
    for network in spec.networks:
        _check_network(document, network)
    for port in spec.ports:
        _check_port(document, port)
    for group in spec.groups:
        _check_group(document, group)
    for router in spec.routers:
        _check_router(document, router)
    for gateway in spec.gateways:
        _known("network", gateway.network, document.networks)
        ipaddress.ip_interface(_unzoned(gateway.address))
        ethernet(gateway.mac)
        if gateway.nexthop is not None:
            _address(gateway.nexthop)
    for floating in spec.floating:
        _known("router", floating.router, document.routers)
        _known("network", floating.network, document.networks)
        _known("port", floating.port, document.ports)
        ipaddress.ip_interface(_unzoned(f"{floating.address}/{floating.prefix}"))
        _address(floating.fixed)
        if floating.nexthop is not None:
            _address(floating.nexthop)
    _unique("floating IP", (floating.address for floating in spec.floating))


def _check_network(document: Document, network: NetworkSpec) -> None:
    uuids.UUID(network.uuid)
    what = f"network {network.uuid}"
    if network.type is SegmentType.FLAT:
        wrong = network.segment is not None
    else:
        top = 4094 if network.type is SegmentType.VLAN else 2**24 - 1
        wrong = network.segment is None or not 1 <= network.segment <= top
    if wrong:
        raise ValueError(f"{what}: segment {network.segment} of type {network.type.value}")
    if not 68 <= network.mtu <= 65535:
        raise ValueError(f"{what}: MTU {network.mtu}")
    if network.domain and not _DOMAIN.fullmatch(network.domain):
        raise ValueError(f"{what}: no domain: {network.domain!r}")
    for subnet in network.subnets:
        block = ipaddress.ip_network(_unzoned(subnet.cidr))
        for address in (subnet.gateway, subnet.service_ip):
            if address is not None and _address(address) not in block:
                raise ValueError(f"{what}: {address} is not in {subnet.cidr}")
        for server in subnet.dns_servers:
            _address(server)
        for route in subnet.routes:
            ipaddress.ip_network(_unzoned(route.destination))
            _address(route.nexthop)
    local = document.ports_of[network.uuid]
    macs = [ethernet(port.mac) for port in local] + [ethernet(remote.mac) for remote in network.remote]
    _unique(f"MAC of {what}", macs)
    ips = [str(_address(address.ip)) for port in local for address in port.addresses]
    ips += [str(_address(ip)) for remote in network.remote for ip in remote.ips]
    _unique(f"address of {what}", ips)
    for vtep in {remote.vtep for remote in network.remote} | {peer.vtep for peer in network.peers}:
        _address(vtep)
    for record in network.names:
        host_label(record.name)
        _address(record.ip)


def _check_port(document: Document, port: PortSpec) -> None:
    uuids.UUID(port.uuid)
    _known("network", port.network, document.networks)
    if port.hostname:
        host_label(port.hostname)
    for address in port.addresses:
        if _address(address.ip) not in ipaddress.ip_network(_unzoned(document.subnets[address.subnet].cidr)):
            raise ValueError(f"port {port.uuid}: {address.ip} is not in its subnet")
    for group in port.groups:
        _known("security group", group, document.groups)
    for pair in port.pairs:
        ipaddress.ip_network(_unzoned(pair.cidr), strict=False)
        if pair.mac is not None:
            ethernet(pair.mac)
    for limit in (port.ingress_kbit, port.egress_kbit):
        if limit is not None and limit <= 0:
            raise ValueError(f"port {port.uuid}: a limit of {limit} kbit/s")


def _check_group(document: Document, group: GroupSpec) -> None:
    uuids.UUID(group.uuid)
    for rule in group.rules:
        if rule.version not in (4, 6):
            raise ValueError(f"rule {rule.uuid}: IP version {rule.version}")
        if rule.cidr is not None and ipaddress.ip_network(_unzoned(rule.cidr), strict=False).version != rule.version:
            raise ValueError(f"rule {rule.uuid}: {rule.cidr} is not IPv{rule.version}")
        if rule.group is not None:
            _known("security group", rule.group, document.groups)
        for number in (rule.first, rule.last):
            if number is not None and not 0 <= number <= 65535:
                raise ValueError(f"rule {rule.uuid}: {number}")
    for member in group.members:
        _address(member)


def _check_router(document: Document, router: RouterSpec) -> None:
    uuids.UUID(router.uuid)
    if router.external is not None:
        _known("network", router.external, document.networks)
    for leg in router.legs:
        uuids.UUID(leg.port)
        _known("network", leg.network, document.networks)
        ethernet(leg.mac)
        for address in leg.addresses:
            ipaddress.ip_interface(_unzoned(address))
    for route in router.routes:
        ipaddress.ip_network(_unzoned(route.destination))
        _address(route.nexthop)


def _known(what: str, uuid: str, known: Mapping[str, object]) -> None:
    if uuid not in known:
        raise ValueError(f"{what} {uuid} is named and not given")


def _unique(what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{what} {value} twice")
        seen.add(value)


def _address(text: str) -> Address:
    return ipaddress.ip_address(_unzoned(text))


def _unzoned(text: str) -> str:
    """The text of an address without a zone: behind the percent sign (RFC 4007) Python takes any character at all."""
    if "%" in text:
        raise ValueError(f"an address with a zone: {text!r}")
    return text
