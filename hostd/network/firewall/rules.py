"""The whole of a host's rules, out of its document: one pure function, and the same for the same document.

In the bridge family, where a guest's tap is seen by its name:

    pre      prerouting  -300   own mark bits cleared; a guest's frame goes through anti-spoofing
    tunnels  forward     -210   what must not cross between hosts
    forward  forward     -200   replies, then what may leave one port, then what may enter the other
    to_host  input       -200   nothing goes from a guest to the host
    post     postrouting  300   own mark bits cleared

A forward chain at 0 would be skipped by kernels with br_netfilter active (6.1 was seen to): -200 is before it.

How replies are recognised is the backend's business. Where the kernel tracks connections on bridges, `ct state` says
so; elsewhere br_netfilter (switched on per bridge, never globally) has the inet family track them, and a chain there
writes what it finds into two bits of the mark. Each network is a conntrack zone of its own, as addresses repeat.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from hostd.network import names
from hostd.network.document import Document
from hostd.network.firewall import expressions as nf
from hostd.network.firewall import groups, spoofing, tunnels
from hostd.network.firewall.tables import Chain, Collection, Rule, Table, digest, marked, replacement
from hostd.network.nft import Json

NAME: Final = "skydeck"
"""Of our table, in either family."""
BRIDGE: Final = ("bridge", NAME)
INET: Final = ("inet", NAME)

ZONES: Final = range(0x5D00, 0x6D00)
"""Conntrack zones that are ours to give, one to a network; others on the host count from 1."""

MARK: Final = "loaded_"
"""An empty chain of this name and a digest says what is loaded."""
REVOKING: Final = "revoking"
"""An empty chain of this name says that flows which are allowed no longer may still be tracked."""

_REPLY: Final = 0x01000000
_INVALID: Final = 0x02000000
_NEITHER: Final = 0xFFFFFFFF & ~(_REPLY | _INVALID)
_VXLAN: Final = 4789


class Backend(StrEnum):
    """How replies are recognised on a bridge."""

    BRIDGE_CONNTRACK = "bridge-conntrack"
    BR_NETFILTER = "br-netfilter"


def ruleset(document: Document, *, backend: Backend, zones: Mapping[str, int]) -> list[Json]:
    """Commands that put all our rules in place, in one transaction. `zones` gives each network's conntrack zone."""
    return replacement(loaded(document, backend=backend, zones=zones))


def loaded(document: Document, *, backend: Backend, zones: Mapping[str, int]) -> tuple[Table, ...]:
    """Our tables, with the mark that names their content."""
    inet, bridge = tables(document, backend=backend, zones=zones)
    return inet, marked(bridge, MARK + digest((inet, bridge)))


def mark_of(loaded: Iterable[Table]) -> str:
    """The name of the mark in our tables."""
    return next(name for table in loaded for name in table.chains if name.startswith(MARK))


def tables(document: Document, *, backend: Backend, zones: Mapping[str, int]) -> tuple[Table, Table]:
    """Our tables of the inet and the bridge family."""
    found = tunnels.tunnels(document)
    guarded = spoofing.guarded(document)
    tracked = _zoned(document, zones)
    netfilter = backend is Backend.BR_NETFILTER
    inet_chains = _underlay(document)
    inet_sets: dict[str, Collection] = {}
    collections = {
        **spoofing.collections(document, guarded),
        **tunnels.collections(document, found),
        **groups.collections(document),
    }
    zone_chains = {_zone_chain(zone): Chain(rules=(_zone(zone),)) for zone in sorted(zones.values())}
    if netfilter:
        inet_sets["zones"] = tracked
        inet_chains |= zone_chains | _tracking()
        zone_chains = {}
    else:
        collections["zones"] = tracked
    chains = {
        **zone_chains,
        # Before any rule of `forward`: groups' rules go on there.
        groups.INGRESS: _ingress(),
        **groups.chains(document),
        **spoofing.chains(guarded),
        **tunnels.chains(found),
        **_hooks(netfilter=netfilter),
    }
    return (
        Table(family="inet", name=NAME, collections=inet_sets, chains=inet_chains),
        Table(family="bridge", name=NAME, collections=collections, chains=chains),
    )


# ---------------------------------------------------------------------------- zones


def allocated(document: Document, known: Mapping[str, int]) -> dict[str, int]:
    """A zone for each network: its own where it has one (by the name of its bridge), the lowest free one otherwise.

    Raises ValueError when the host has more networks than zones.
    """
    zones = {uuid: known[names.bridge(uuid)] for uuid in document.networks if names.bridge(uuid) in known}
    taken = set(zones.values())
    free = (zone for zone in ZONES if zone not in taken)
    for uuid in document.networks:
        if uuid not in zones:
            zone = next(free, None)
            if zone is None:
                raise ValueError(f"more than {len(ZONES)} networks")
            zones[uuid] = zone
    return zones


def zones_in(listing: Iterable[Json]) -> dict[str, int]:
    """Bridge to zone, out of a listing of the map of zones."""
    found = {}
    for item in listing:
        for bridge, verdict in item.get("map", {}).get("elem", ()):
            target = re.fullmatch(r"zone_(\d+)", verdict.get("jump", {}).get("target", ""))
            if target:
                found[str(bridge)] = int(target[1])
    return found


def _zoned(document: Document, zones: Mapping[str, int]) -> Collection:
    elements = tuple([names.bridge(uuid), nf.jump(_zone_chain(zones[uuid]))] for uuid in document.networks)
    return Collection(key="ifname", value="verdict", elements=elements)


def _zone_chain(zone: int) -> str:
    return f"zone_{zone}"


def _zone(zone: int) -> Rule:
    return nf.rule(nf.mangle({"ct": {"key": "zone"}}, zone))


# ---------------------------------------------------------------------------- chains


def _ingress() -> Chain:
    """May the frame go into the port it is on its way to? Every way ends here."""
    return Chain(
        rules=(
            nf.rule(nf.vmap(nf.OIFNAME, "ingress_of")),
            nf.dropping(spoofing.TO_TAP, comment="unknown port"),
            nf.rule(nf.ACCEPT),
        )
    )


def _hooks(*, netfilter: bool) -> dict[str, Chain]:
    cleared = nf.rule(nf.mangle(nf.MARK, {"&": [nf.MARK, _NEITHER]}))
    unless_open = nf.match(nf.IIFNAME, "@open", "!=")
    if netfilter:
        reply = nf.match({"&": [nf.MARK, _REPLY]}, 0, "!=")
        invalid = nf.match({"&": [nf.MARK, _INVALID]}, 0, "!=")
        first = [cleared]
    else:
        reply = nf.match({"ct": {"key": "state"}}, ["established", "related"], "in")
        invalid = nf.match({"ct": {"key": "state"}}, "invalid", "in")
        first = [nf.rule(nf.vmap(nf.meta("ibrname"), "zones"))]
    made = {
        "pre": Chain(
            hook=nf.hooked("prerouting", -300),
            rules=(*first, tunnels.answered(), nf.rule(spoofing.FROM_TAP, nf.goto(spoofing.SPOOF))),
        ),
        "forward": Chain(
            hook=nf.hooked("forward", -200),
            rules=(
                nf.dropping(spoofing.TO_TAP, nf.match(nf.OIFNAME, "@live", "!="), comment="port disabled or unknown"),
                nf.rule(spoofing.FROM_TAP, unless_open, nf.jump(spoofing.GUARD)),
                nf.rule(nf.match(nf.ETHER_TYPE, "arp"), nf.ACCEPT),
                nf.rule(reply, nf.COUNTER, nf.ACCEPT, comment="reply"),
                nf.dropping(
                    invalid, spoofing.TO_TAP, nf.match(nf.OIFNAME, "@open", "!="), comment="belongs to no connection"
                ),
                # As neutron does: addresses, routers and neighbours are found whatever the groups say. The guard
                # and the tunnels' rules have seen to it that only those speak here who may.
                *(nf.rule(*dhcp, nf.ACCEPT) for dhcp in (nf.DHCP_TO_CLIENT, nf.DHCP6_TO_CLIENT)),
                nf.rule(nf.icmp6(nf.MLD_QUERY, nf.ROUTER_ADVERT, nf.NEIGHBOUR_SOLICIT, nf.NEIGHBOUR_ADVERT), nf.ACCEPT),
                *(
                    nf.rule(*asking, nf.goto(groups.INGRESS))
                    for asking in (
                        nf.DHCP_TO_SERVER,
                        nf.DHCP6_TO_SERVER,
                        (nf.icmp6(nf.MLD_REPORT, nf.MLD_DONE, nf.ROUTER_SOLICIT, nf.MLD2_REPORT),),
                    )
                ),
                nf.rule(nf.vmap(nf.IIFNAME, "egress_of")),
                nf.dropping(spoofing.FROM_TAP, comment="unknown port"),
                nf.rule(nf.goto(groups.INGRESS)),
            ),
        ),
        # A guest could otherwise reach the host's own addresses: the kernel answers ARP for any of them on any link.
        "to_host": Chain(
            hook=nf.hooked("input", -200),
            rules=(
                nf.dropping(spoofing.FROM_TAP, comment="to the host"),
                nf.dropping(tunnels.FROM_TUNNEL, comment="to the host"),
            ),
        ),
    }
    if netfilter:
        made["post"] = Chain(hook=nf.hooked("postrouting", 300), rules=(cleared,))
    return made


def _tracking() -> dict[str, Chain]:
    """br_netfilter shows a bridge's packets to the inet family as coming from the bridge itself."""
    state = {"ct": {"key": "state"}}
    bridged = nf.match(nf.IIFNAME, "skb-*")
    return {
        "reply": Chain(rules=(nf.rule(nf.mangle(nf.MARK, {"|": [nf.MARK, _REPLY]})),)),
        "invalid": Chain(rules=(nf.rule(nf.mangle(nf.MARK, {"|": [nf.MARK, _INVALID]})),)),
        "zone": Chain(hook=nf.hooked("prerouting", -300), rules=(nf.rule(nf.vmap(nf.IIFNAME, "zones")),)),
        "state": Chain(
            hook=nf.hooked("prerouting", -150),
            rules=(
                nf.rule(bridged, nf.match(state, ["established", "related"], "in"), nf.goto("reply")),
                nf.rule(bridged, nf.match(state, "invalid", "in"), nf.goto("invalid")),
            ),
        ),
    }


def _underlay(document: Document) -> dict[str, Chain]:
    """VXLAN has no authentication: it is taken from the cloud's other hosts alone."""
    underlay = document.spec.underlay
    if underlay.vtep is None:
        return {}
    own = ipaddress.ip_address(underlay.vtep)
    family = "ip" if own.version == 4 else "ip6"
    others = [str(ipaddress.ip_address(vtep)) for vtep in sorted(set(underlay.vteps))]
    tunnelled = [
        nf.match(nf.payload(family, "daddr"), str(own)),
        nf.match(nf.payload("udp", "dport"), _VXLAN),
    ]
    known = [nf.match(nf.payload(family, "saddr"), nf.any_of(*others), "!=")] if others else []
    rules = (nf.dropping(*tunnelled, *known, comment="a tunnel from no host of ours"),)
    return {"underlay": Chain(hook=nf.hooked("input", -10), rules=rules)}
