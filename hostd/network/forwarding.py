"""The part `forwarding`: where each address of a network is, told to bridges and tunnels instead of learned.

A tunnel sends to whom its table names and to nobody else; the bridge answers ARP and neighbour solicitations for
everybody it knows, so that no broadcast for a known address leaves the host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from hostd.drivers import Step
from hostd.network import names, rtnetlink
from hostd.network.document import Document, ethernet
from hostd.network.part import World
from hostd.network.rtnetlink import EVERYBODY, Forward, Link, Neighbour
from hostd.spec import ErrorCode, HostError, NetworkSpec, SegmentType


@attrs.frozen
class Entry:
    """A forwarding entry or a permanent neighbour, by the names of links: they are there before their numbers are."""

    link: str
    mac: str
    to: str
    """A tunnel's peer; `bridge` for the bridge's own entry; else an address that the MAC has."""


BRIDGED: Final = "bridge"


@attrs.frozen(kw_only=True)
class ForwardingSeen:
    entries: frozenset[Entry]
    """Of our tunnels and bridges."""


class Forwarding:
    """See hostd.network.part.Part."""

    name: Final = "forwarding"
    steps: Final = ("forwarding",)
    removals: Final = ()

    def seen(self, document: Document, world: World, *, deep: bool) -> ForwardingSeen:
        return ForwardingSeen(entries=frozenset(_read(world.links)))

    def plan(self, document: Document, seen: ForwardingSeen) -> tuple[Step, ...]:
        return (Step("forwarding"),) if frozenset(entries(document)) != _of_document(document, seen.entries) else ()

    def execute(self, step: Step, document: Document) -> None:
        """Raises HostError(NETWORK) with the kernel's reason."""
        links = rtnetlink.links()
        wanted = frozenset(entries(document))
        here = _of_document(document, frozenset(_read(links)))
        if missing := sorted({entry.link for entry in wanted} - links.keys()):
            raise HostError(ErrorCode.NETWORK, f"no forwarding over what is not there: {', '.join(missing)}")
        try:
            rtnetlink.change((_change(one, links, delete=True) for one in here - wanted), fine=rtnetlink.GONE)
            rtnetlink.change(_change(one, links) for one in wanted - here)
        except OSError as bad:
            raise HostError(ErrorCode.NETWORK, f"forwarding: {bad}") from bad

    def faults(self, document: Document, seen: ForwardingSeen) -> Mapping[str, str]:
        wanted, here = frozenset(entries(document)), _of_document(document, seen.entries)
        found = {}
        for network in document.spec.networks if document.present else ():
            mine = {names.vxlan(network.uuid), names.bridge(network.uuid)}
            missing = sum(entry.link in mine for entry in wanted - here)
            extra = sum(entry.link in mine for entry in here - wanted)
            if missing or extra:
                found[network.uuid] = f"{missing} forwarding entries are missing, {extra} too many"
        return found


def entries(document: Document) -> Iterator[Entry]:
    """Every entry the document asks for. Pure."""
    if document.present and document.spec.underlay.vtep is not None:
        for network in document.spec.networks:
            if network.type is SegmentType.VXLAN:
                yield from _of_network(document, network)


def _of_network(document: Document, network: NetworkSpec) -> Iterator[Entry]:
    tunnel, bridge = names.vxlan(network.uuid), names.bridge(network.uuid)
    for peer in network.peers:
        yield Entry(tunnel, EVERYBODY, peer.vtep)
        router = names.router_mac(network.uuid, peer.host)
        yield Entry(tunnel, router, peer.vtep)
        yield Entry(tunnel, router, BRIDGED)
    for remote in network.remote:
        mac = ethernet(remote.mac)
        yield Entry(tunnel, mac, remote.vtep)
        yield Entry(tunnel, mac, BRIDGED)
    if not network.flood:
        for mac, ips in _known(document, network):
            for ip in ips:
                yield Entry(bridge, ethernet(mac), str(ipaddress.ip_address(ip)))


def _known(document: Document, network: NetworkSpec) -> Iterator[tuple[str, Iterable[str]]]:
    """Everybody on the network: MAC and addresses."""
    for remote in network.remote:
        yield remote.mac, remote.ips
    for port in document.ports_of[network.uuid]:
        yield port.mac, (address.ip for address in port.addresses)
    for _, leg in document.legs_of[network.uuid]:
        yield leg.mac, (str(ipaddress.ip_interface(address).ip) for address in leg.addresses)
    service = names.mac("service", network.uuid)
    yield service, (subnet.service_ip for subnet in document.served(network) if subnet.service_ip is not None)


def _read(links: Mapping[str, Link]) -> Iterator[Entry]:
    """Every entry of our tunnels and bridges, whoever's network they are."""
    tunnels = {link.index: link.name for link in links.values() if link.name.startswith("skv-")}
    bridges = {link.index: link.name for link in links.values() if link.name.startswith("skb-")}
    if not tunnels and not bridges:
        return
    for forward in rtnetlink.forwards():
        if forward.index in tunnels:
            yield Entry(tunnels[forward.index], forward.mac, forward.vtep or BRIDGED)
    for neighbour in rtnetlink.neighbours():
        if neighbour.index in bridges:
            yield Entry(bridges[neighbour.index], neighbour.mac, neighbour.ip)


def _of_document(document: Document, found: frozenset[Entry]) -> frozenset[Entry]:
    """Those of links that stay: what is on the others goes with them."""
    if not document.present:
        return frozenset()
    stay = {name(uuid) for uuid in document.networks for name in (names.vxlan, names.bridge)}
    return frozenset(entry for entry in found if entry.link in stay)


def _change(entry: Entry, links: Mapping[str, Link], *, delete: bool = False) -> tuple[int, int, bytes]:
    index = links[entry.link].index
    if entry.link.startswith("skb-"):
        return rtnetlink.neighbour(Neighbour(index, entry.to, entry.mac), delete=delete)
    vtep = None if entry.to == BRIDGED else entry.to
    return rtnetlink.forward(Forward(index, entry.mac, vtep), delete=delete)
