"""What links a document asks for, as values: compared with what is there, and made one by one."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from hostd.network import names
from hostd.network.document import Document
from hostd.network.rtnetlink import Link
from hostd.network.services.configuration import METADATA, serves
from hostd.spec import NetworkSpec, SegmentType

MARK: Final = "skm-"
"""Begins the mark of a service leg: which addresses its other end was given."""


@attrs.frozen(kw_only=True)
class Bridge:
    name: str
    alternative: str
    mac: str
    mtu: int
    calls_iptables: bool

    def wrong(self, links: Mapping[str, Link]) -> str:
        """What is not so; empty when all is."""
        link = links.get(self.name)
        if link is None:
            return f"bridge {self.name} is missing"
        wanted = ("bridge", self.mac, self.mtu, True, names.GROUP, self.calls_iptables)
        has = (link.kind, link.mac, link.mtu, link.up, link.group, link.calls_iptables)
        if has != wanted or self.alternative not in link.alternatives:
            return f"bridge {self.name} is not as it should be"
        return ""


@attrs.frozen(kw_only=True)
class Tunnel:
    name: str
    alternative: str
    vni: int
    local: str
    mtu: int
    bridge: str
    flood: bool

    def wrong(self, links: Mapping[str, Link]) -> str:
        link, bridge = links.get(self.name), links.get(self.bridge)
        if link is None:
            return f"tunnel {self.name} is missing"
        wanted = ("vxlan", self.vni, self.local, self.mtu, True, names.GROUP, False, self.flood, not self.flood)
        has = (link.kind, link.tag, link.local, link.mtu, link.up, link.group, link.learning, link.flood, link.suppress)
        if has != wanted or bridge is None or link.master != bridge.index or self.alternative not in link.alternatives:
            return f"tunnel {self.name} is not as it should be"
        return ""


@attrs.frozen(kw_only=True)
class Leg:
    """The service leg: a cable into the network's namespace."""

    name: str
    alternative: str
    bridge: str
    mtu: int
    namespace: str
    mac: str
    addresses: tuple[str, ...]

    @property
    def mark(self) -> str:
        told = f"{self.namespace} {self.mac} {self.mtu} {' '.join(self.addresses)}"
        return f"{MARK}{self.name[4:]}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"

    def wrong(self, links: Mapping[str, Link], namespaces: frozenset[str]) -> str:
        link, bridge = links.get(self.name), links.get(self.bridge)
        if link is None or self.namespace not in namespaces:
            return f"service leg {self.name} is missing"
        wanted = ("veth", self.mtu, True, names.GROUP)
        has = (link.kind, link.mtu, link.up, link.group)
        marks = {self.alternative, self.mark}
        if has != wanted or bridge is None or link.master != bridge.index or not marks <= link.alternatives:
            return f"service leg {self.name} is not as it should be"
        return ""


@attrs.frozen(kw_only=True)
class Uplink:
    """Where a provider network leaves this host: an interface of the operator's."""

    network: str
    bridge: str
    interface: str
    tag: int | None
    mtu: int

    @property
    def vlan(self) -> str:
        return names.vlan(self.network)

    @property
    def cable(self) -> str:
        return names.uplink(self.network)

    @property
    def far(self) -> str:
        return names.uplink_far(self.network)

    def names(self, links: Mapping[str, Link]) -> frozenset[str]:
        """Which links of ours it takes."""
        if self.tag is not None:
            return frozenset((self.vlan,))
        return frozenset((self.cable, self.far)) if self.bridged(links) else frozenset()

    def bridged(self, links: Mapping[str, Link]) -> bool:
        """Whether the interface is a bridge of the operator's: it is joined and never owned."""
        link = links.get(self.interface)
        return link is not None and link.kind == "bridge" and self.tag is None

    def wrong(self, links: Mapping[str, Link]) -> str:
        below, bridge = links.get(self.interface), links.get(self.bridge)
        if below is None:
            return f"interface {self.interface} is missing"
        if bridge is None:
            return f"bridge {self.bridge} is missing"
        if self.tag is not None:
            link = links.get(self.vlan)
            if link is None or (link.kind, link.tag, link.parent) != ("vlan", self.tag, below.index):
                return f"VLAN {self.tag} of {self.interface} is missing"
            so = link.master == bridge.index and link.up and below.up and link.mtu == self.mtu
            return "" if so else f"VLAN {self.tag} of {self.interface} is not as it should be"
        if self.bridged(links):
            near, far = links.get(self.cable), links.get(self.far)
            so = near is not None and far is not None and near.master == bridge.index and far.master == below.index
            up = so and near is not None and far is not None and near.up and far.up and near.mtu == self.mtu
            return "" if up else f"the cable to bridge {self.interface} is not as it should be"
        so = below.master == bridge.index and below.up
        return "" if so else f"interface {self.interface} is not on {self.bridge}"


@attrs.frozen(kw_only=True)
class Wanted:
    """The links of one network."""

    network: str
    bridge: Bridge
    tunnel: Tunnel | None
    leg: Leg | None
    uplink: Uplink | None
    problem: str = ""
    """Why it cannot be whole on this host."""

    def wrong(self, links: Mapping[str, Link], namespaces: frozenset[str]) -> str:
        found = self.bridge.wrong(links)
        for part in (self.tunnel, self.uplink):
            found = found or (part.wrong(links) if part is not None else "")
        return found or (self.leg.wrong(links, namespaces) if self.leg is not None else "")

    def names(self, links: Mapping[str, Link]) -> Iterator[str]:
        yield self.bridge.name
        for part in (self.tunnel, self.leg):
            if part is not None:
                yield part.name
        if self.uplink is not None:
            yield from self.uplink.names(links)


def wanted(document: Document, network: NetworkSpec, *, calls_iptables: bool) -> Wanted:
    """What links a network takes on this host. Pure."""
    bridge = names.bridge(network.uuid)
    vtep = document.spec.underlay.vtep
    tunnel, uplink, problem = None, None, ""
    if network.type is SegmentType.VXLAN:
        if vtep is not None:
            assert network.segment is not None  # the document was checked
            name = names.vxlan(network.uuid)
            tunnel = Tunnel(
                name=name, alternative=names.alternative(name, network.uuid), vni=network.segment, local=vtep,
                mtu=network.mtu, bridge=bridge, flood=network.flood,
            )  # fmt: skip
        elif network.peers:
            problem = "this host has no tunnel endpoint (skydeck host set NAME --vtep ADDRESS)"
    else:
        interface = document.spec.underlay.physnets.get(network.physnet or "")
        if interface is None:
            problem = (
                f"no interface leads to {network.physnet} (skydeck host set NAME --physnet {network.physnet}=IFACE)"
            )
        else:
            uplink = Uplink(
                network=network.uuid, bridge=bridge, interface=interface, tag=network.segment, mtu=network.mtu
            )
    return Wanted(
        network=network.uuid,
        bridge=Bridge(
            name=bridge,
            alternative=names.alternative(bridge, network.uuid),
            mac=names.mac("bridge", network.uuid),
            mtu=network.mtu,
            calls_iptables=calls_iptables,
        ),
        tunnel=tunnel,
        leg=_leg(document, network, bridge) if serves(document, network) else None,
        uplink=uplink,
        problem=problem,
    )


def _leg(document: Document, network: NetworkSpec, bridge: str) -> Leg:
    name = names.leg(network.uuid)
    own = [f"{subnet.service_ip}/{ipaddress.ip_network(subnet.cidr).prefixlen}" for subnet in document.served(network)]
    return Leg(
        name=name,
        alternative=names.alternative(name, network.uuid),
        bridge=bridge,
        mtu=network.mtu,
        namespace=names.namespace(network.uuid),
        mac=names.mac("service", network.uuid),
        addresses=tuple(sorted({*own, f"{METADATA}/32"})),
    )
