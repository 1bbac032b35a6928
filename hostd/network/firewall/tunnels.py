"""What must not leak between hosts through a tunnel, and how a router asks there.

A network's gateway and its service address are on every host, with the same MAC. So each host answers for them itself,
and nothing that asks for them, or speaks for them, crosses a tunnel.

A router's own question for an address that no host's table knows (one that moves between guests) would be answered to
the nearest router with the gateway's MAC, which is the wrong one. So it leaves as an ARP probe (RFC 5227: without a
sender, it changes nobody's cache) from a MAC of this host, and the answer's destination is turned back here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from hostd.network import names
from hostd.network.document import Document, ethernet
from hostd.network.firewall import expressions as nf
from hostd.network.firewall.spoofing import link_local
from hostd.network.firewall.tables import Chain, Collection, Rule
from hostd.network.nft import Json
from hostd.spec import NetworkSpec, RouterLeg, SegmentType

METADATA: Final = "169.254.169.254"

FROM_TUNNEL: Final = nf.match(nf.IIFNAME, "skv-*")
TO_TUNNEL: Final = nf.match(nf.OIFNAME, "skv-*")
FROM_SERVICE: Final = nf.match(nf.IIFNAME, "skd-*")
TO_SERVICE: Final = nf.match(nf.OIFNAME, "skd-*")
_FROM_ROUTER: Final = nf.match(nf.IIFNAME, "skr-*")
_SERVICE: Final = "the service address is every host's own"
_GATEWAY: Final = "the gateway is every host's own"
_ROUTER: Final = "routers are every host's own"
_DHCP: Final = ((67, 68), (546, 547))

_ARP: Final = nf.match(nf.ETHER_TYPE, "arp")
_ARP_SENDER: Final = nf.payload("arp", "saddr ip")


@attrs.frozen(kw_only=True)
class Tunnel:
    """One network's tunnel on this host, and what is on every host of it."""

    name: str
    addresses: tuple[str, ...]
    """Which each host answers for itself."""
    gateway_mac: str | None
    """Where the answers to the local router go; None without a router."""
    router_mac: str
    """What the local router asks from."""


def tunnels(document: Document) -> tuple[Tunnel, ...]:
    return tuple(_tunnel(document, network) for network in document.spec.networks if network.type is SegmentType.VXLAN)


def _tunnel(document: Document, network: NetworkSpec) -> Tunnel:
    legs = [leg for _, leg in document.legs_of[network.uuid]]
    held = {METADATA, *(str(ipaddress.ip_interface(address).ip) for leg in legs for address in leg.addresses)}
    held |= {str(link_local(ethernet(leg.mac))) for leg in legs}
    for subnet in document.served(network):
        assert subnet.service_ip is not None
        held.add(str(ipaddress.ip_address(subnet.service_ip)))
    gateways = {subnet.gateway for subnet in network.subnets}
    return Tunnel(
        name=names.vxlan(network.uuid),
        addresses=tuple(sorted(held)),
        gateway_mac=_gateway_mac(legs, gateways),
        router_mac=names.router_mac(network.uuid, document.spec.uuid),
    )


def _gateway_mac(legs: list[RouterLeg], gateways: set[str | None]) -> str | None:
    """Of several routers on a network, the one that guests use asks from this host's MAC."""

    def is_gateway(leg: RouterLeg) -> bool:
        return any(str(ipaddress.ip_interface(address).ip) in gateways for address in leg.addresses)

    ordered = sorted(legs, key=lambda leg: (not is_gateway(leg), leg.port))
    return ethernet(ordered[0].mac) if ordered else None


def uplinks(document: Document) -> tuple[str, ...]:
    """The ports by which bridges here lead to physical networks."""
    found: set[str] = set()
    for network in document.spec.networks:
        if network.type is not SegmentType.VXLAN:
            found |= {names.uplink(network.uuid), names.vlan(network.uuid)}
        if network.type is SegmentType.FLAT and network.physnet in document.spec.underlay.physnets:
            found.add(document.spec.underlay.physnets[network.physnet])
    return tuple(sorted(found))


def collections(document: Document, found: Iterable[Tunnel]) -> dict[str, Collection]:
    routed = [tunnel for tunnel in found if tunnel.gateway_mac is not None]
    own = [{"concat": [tunnel.name, address]} for tunnel in found for address in tunnel.addresses if ":" not in address]
    return {
        "uplinks": Collection(key="ifname", elements=uplinks(document)),
        "everywhere": Collection(key=("ifname", "ipv4_addr"), elements=tuple(own)),
        "asked_from": Collection(
            key="ifname", value="ether_addr", elements=tuple([tunnel.name, tunnel.router_mac] for tunnel in routed)
        ),
        "answered_to": Collection(
            key="ifname", value="ether_addr", elements=tuple([tunnel.name, tunnel.gateway_mac] for tunnel in routed)
        ),
        "answers": Collection(
            key=("ifname", "ether_addr"),
            elements=tuple({"concat": [tunnel.name, tunnel.router_mac]} for tunnel in routed),
        ),
    }


def chains(found: Iterable[Tunnel]) -> dict[str, Chain]:
    every = tuple(found)
    asked = nf.mangle(nf.payload("arp", "saddr ether"), nf.looked_up(nf.OIFNAME, "asked_from"))
    request = nf.match(nf.payload("arp", "operation"), "request")
    known = nf.match(nf.concat(nf.OIFNAME, nf.payload("arp", "daddr ip")), "@everywhere")
    claimed = nf.match(nf.concat(nf.IIFNAME, _ARP_SENDER), "@everywhere")
    discovery = nf.icmp6(nf.NEIGHBOUR_SOLICIT, nf.NEIGHBOUR_ADVERT)
    return {
        "tunnel_ask": Chain(
            rules=(
                nf.rule(nf.mangle(nf.ETHER_SOURCE, nf.looked_up(nf.OIFNAME, "asked_from"))),
                nf.rule(asked),
                nf.rule(nf.mangle(_ARP_SENDER, "0.0.0.0")),
            )
        ),
        "tunnel_nd_out": Chain(rules=tuple(_discovery(every, nf.OIFNAME, nf.NEIGHBOUR_SOLICIT))),
        "tunnel_nd_in": Chain(rules=tuple(_discovery(every, nf.IIFNAME, nf.NEIGHBOUR_ADVERT))),
        "tunnel_out": Chain(
            rules=(
                nf.dropping(FROM_SERVICE, comment=_SERVICE),
                *_services(),
                nf.dropping(nf.icmp6(nf.ROUTER_SOLICIT, nf.ROUTER_ADVERT), comment=_ROUTER),
                nf.dropping(known, comment=_GATEWAY),
                nf.rule(_FROM_ROUTER, request, nf.goto("tunnel_ask")),
                nf.rule(discovery, nf.goto("tunnel_nd_out")),
            )
        ),
        "tunnel_in": Chain(
            rules=(
                nf.dropping(TO_SERVICE, comment=_SERVICE),
                *_services(),
                nf.dropping(nf.icmp6(nf.ROUTER_SOLICIT, nf.ROUTER_ADVERT, nf.REDIRECT), comment=_ROUTER),
                nf.dropping(claimed, comment=_GATEWAY),
                nf.rule(discovery, nf.goto("tunnel_nd_in")),
            )
        ),
        "tunnels": Chain(
            hook=nf.hooked("forward", -210),
            rules=(
                nf.rule(TO_TUNNEL, nf.goto("tunnel_out")),
                nf.rule(FROM_TUNNEL, nf.goto("tunnel_in")),
                # The same address and MAC on every host: a physical switch would never make up its mind.
                nf.dropping(FROM_SERVICE, nf.match(nf.OIFNAME, "@uplinks"), comment=_SERVICE),
                nf.dropping(TO_SERVICE, nf.match(nf.IIFNAME, "@uplinks"), comment=_SERVICE),
            ),
        ),
    }


def answered() -> Rule:
    """Before the bridge looks its port up: what was asked from this host's MAC goes to the router that asked."""
    mine = nf.match(nf.concat(nf.IIFNAME, nf.ETHER_DESTINATION), "@answers")
    back = nf.mangle(nf.ETHER_DESTINATION, nf.looked_up(nf.IIFNAME, "answered_to"))
    return nf.rule(FROM_TUNNEL, _ARP, mine, back)


def _services() -> Iterator[Rule]:
    for pair in _DHCP:
        either = nf.any_of(*pair)
        sport, dport = nf.match(nf.payload("udp", "sport"), either), nf.match(nf.payload("udp", "dport"), either)
        yield nf.dropping(sport, dport, comment="DHCP is every host's own")


def _discovery(found: Iterable[Tunnel], side: Json, kind: int) -> Iterator[Rule]:
    for tunnel in found:
        targets = [hex(int(ipaddress.IPv6Address(address))) for address in tunnel.addresses if ":" in address]
        if targets:
            there = nf.match(nf.ND_TARGET, nf.any_of(*targets))
            yield nf.dropping(nf.match(side, tunnel.name), nf.icmp6(kind), there, comment=_GATEWAY)
