"""Anti-spoofing: what a guest's tap may send at all, before any security group is asked.

A port with security sends from its own MAC and addresses only (and those of its allowed pairs), claims only these in
ARP and neighbour discovery, and never speaks as a DHCP server or a router. A tap that no port is known for sends
nothing: rules match by name, so they stand before the tap does.

Hosts' own answers are given away first: these chains come before br_netfilter and conntrack, and see fragments as they
are sent. What a fragment could hide is asked again once it is whole (`GUARD`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from hostd.network import names
from hostd.network.document import Block, Document, ethernet
from hostd.network.firewall import expressions as nf
from hostd.network.firewall.groups import filtered
from hostd.network.firewall.tables import Chain, Collection
from hostd.network.nft import Json
from hostd.spec import PortSpec

SPOOF: Final = "spoof"
"""The chain a guest's frames go through first."""
GUARD: Final = "guard"
"""The chain that asks whole packets from guests whether they speak for a router or a DHCP server."""

FROM_TAP: Final = nf.match(nf.IIFNAME, f"{names.TAP_PREFIX}*")
TO_TAP: Final = nf.match(nf.OIFNAME, f"{names.TAP_PREFIX}*")

_OWN_MAC: Final = nf.concat(nf.IIFNAME, nf.ETHER_SOURCE)
_ARP_MAC: Final = nf.concat(nf.IIFNAME, nf.payload("arp", "saddr ether"))
_ARP_SOURCE: Final = nf.payload("arp", "saddr ip")


def link_local(mac: str) -> ipaddress.IPv6Address:
    """The IPv6 address that a card gives itself (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier)


@attrs.frozen
class Guarded:
    """A port whose sender is checked."""

    port: PortSpec
    tap: str
    rights: Mapping[str, tuple[Block, ...]]
    """What it may send from: MAC to blocks of addresses, none within another."""


def guarded(document: Document) -> tuple[Guarded, ...]:
    return tuple(Guarded(port, names.tap(port.uuid), _rights(port)) for port in filtered(document))


def _rights(port: PortSpec) -> dict[str, tuple[Block, ...]]:
    own = ethernet(port.mac)
    held: dict[str, list[Block]] = {own: [ipaddress.ip_network(address.ip) for address in port.addresses]}
    for pair in port.pairs:
        mac = own if pair.mac is None else ethernet(pair.mac)
        held.setdefault(mac, []).append(ipaddress.ip_network(pair.cidr, strict=False))
    return {mac: (*_merged([*blocks, ipaddress.ip_network(link_local(mac))]),) for mac, blocks in held.items()}


def collections(document: Document, ports: Iterable[Guarded]) -> dict[str, Collection]:
    live = [port for port in document.spec.ports if port.enabled]
    macs: list[object] = []
    single: dict[int, list[object]] = {4: [], 6: []}
    blocks: dict[int, list[object]] = {4: [], 6: []}
    claims: list[object] = []
    for guard in ports:
        tap = guard.tap
        claims.append([tap, nf.goto(_claim_chain(tap))])
        for mac, held in guard.rights.items():
            macs.append({"concat": [tap, mac]})
            for block in held:
                # Most rights are for one address, and are found by one hash; blocks are looked through after.
                if block.prefixlen == block.max_prefixlen:
                    single[block.version].append({"concat": [tap, mac, str(block.network_address)]})
                else:
                    part = {"prefix": {"addr": str(block.network_address), "len": block.prefixlen}}
                    blocks[block.version].append({"concat": [tap, mac, part]})

    def address(version: int, elements: list[object], *, interval: bool) -> Collection:
        key = ("ifname", "ether_addr", f"ipv{version}_addr")
        return Collection(key=key, interval=interval, elements=tuple(elements))

    return {
        "live": Collection(key="ifname", elements=tuple(names.tap(port.uuid) for port in live)),
        "open": Collection(key="ifname", elements=tuple(names.tap(port.uuid) for port in live if not port.security)),
        "mac_ok": Collection(key=("ifname", "ether_addr"), elements=tuple(macs)),
        "ip4_ok": address(4, single[4], interval=False),
        "ip6_ok": address(6, single[6], interval=False),
        "net4_ok": address(4, blocks[4], interval=True),
        "net6_ok": address(6, blocks[6], interval=True),
        "claims_of": Collection(key="ifname", value="verdict", elements=tuple(claims)),
    }


def chains(ports: Iterable[Guarded]) -> dict[str, Chain]:
    made = {
        "spoof_arp": Chain(rules=tuple(_arp())),
        "spoof_ip": Chain(rules=tuple(_ip())),
        "spoof_ip6_source": Chain(rules=tuple(_ip6_source())),
        "spoof_ip6": Chain(
            rules=(
                nf.dropping(nf.icmp6(nf.ROUTER_ADVERT, nf.REDIRECT), comment="spoofed router"),
                nf.dropping(*nf.DHCP6_TO_CLIENT, comment="spoofed DHCP server"),
                nf.rule(nf.icmp6(nf.NEIGHBOUR_ADVERT), nf.vmap(nf.IIFNAME, "claims_of")),
                # Duplicate address detection claims, too.
                nf.rule(
                    nf.match(nf.payload("ip6", "saddr"), "::"),
                    nf.icmp6(nf.NEIGHBOUR_SOLICIT),
                    nf.vmap(nf.IIFNAME, "claims_of"),
                ),
                nf.rule(nf.goto("spoof_ip6_source")),
            )
        ),
        SPOOF: Chain(
            rules=(
                nf.rule(nf.match(nf.IIFNAME, "@open"), nf.ACCEPT),
                nf.dropping(nf.match(_OWN_MAC, "@mac_ok", "!="), comment="spoofed MAC"),
                *(nf.rule(nf.match(nf.ETHER_TYPE, kind), nf.goto(f"spoof_{kind}")) for kind in ("ip", "ip6", "arp")),
                nf.dropping(comment="neither IP nor ARP"),
            )
        ),
        GUARD: Chain(
            rules=(
                nf.dropping(nf.icmp6(nf.ROUTER_ADVERT, nf.REDIRECT), comment="spoofed router"),
                nf.dropping(*nf.DHCP_TO_CLIENT, comment="spoofed DHCP server"),
                nf.dropping(*nf.DHCP6_TO_CLIENT, comment="spoofed DHCP server"),
            )
        ),
    }
    for guard in ports:
        own = [block for held in guard.rights.values() for block in held if block.version == 6]
        targets = nf.any_of(*(_number(block) for block in _merged(own)))
        made[_claim_chain(guard.tap)] = Chain(
            rules=(
                nf.rule(nf.match(nf.ND_TARGET, targets), nf.goto("spoof_ip6_source")),
                nf.dropping(comment="spoofed neighbour"),
            )
        )
    return made


def _arp() -> Iterator[Json]:
    operation = nf.payload("arp", "operation")
    either = nf.match(operation, nf.any_of("request", "reply"))
    for known in ("@ip4_ok", "@net4_ok"):
        claimed = nf.concat(nf.IIFNAME, nf.payload("arp", "saddr ether"), _ARP_SOURCE)
        yield nf.rule(either, nf.match(claimed, known), nf.ACCEPT)
    # A probe (RFC 5227): no sender address yet.
    nobody = nf.match(_ARP_SOURCE, "0.0.0.0")
    yield nf.rule(nf.match(operation, "request"), nf.match(_ARP_MAC, "@mac_ok"), nobody, nf.ACCEPT)
    yield nf.dropping(comment="spoofed ARP")


def _ip() -> Iterator[Json]:
    source = nf.payload("ip", "saddr")
    yield nf.rule(nf.match(source, "0.0.0.0"), *nf.DHCP_TO_SERVER, nf.ACCEPT)
    yield nf.dropping(*nf.DHCP_TO_CLIENT, comment="spoofed DHCP server")
    for known in ("@ip4_ok", "@net4_ok"):
        yield nf.rule(nf.match(nf.concat(nf.IIFNAME, nf.ETHER_SOURCE, source), known), nf.ACCEPT)
    yield nf.dropping(comment="spoofed IPv4")


def _ip6_source() -> Iterator[Json]:
    source = nf.payload("ip6", "saddr")
    for known in ("@ip6_ok", "@net6_ok"):
        yield nf.rule(nf.match(nf.concat(nf.IIFNAME, nf.ETHER_SOURCE, source), known), nf.ACCEPT)
    unset = nf.icmp6(nf.NEIGHBOUR_SOLICIT, nf.ROUTER_SOLICIT, nf.MLD_REPORT, nf.MLD2_REPORT)
    yield nf.rule(nf.match(source, "::"), unset, nf.ACCEPT)
    yield nf.dropping(comment="spoofed IPv6")


def _claim_chain(tap: str) -> str:
    """The chain with the targets that the port may speak for in neighbour discovery."""
    return f"claims_{tap.removeprefix(names.TAP_PREFIX)}"


def _merged(blocks: Iterable[Block]) -> list[Block]:
    """Without overlaps, which nft's sets of intervals refuse."""
    held = list(dict.fromkeys(blocks))
    if all(block.prefixlen == block.max_prefixlen for block in held):
        return held
    four = ipaddress.collapse_addresses(block for block in held if isinstance(block, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(block for block in held if isinstance(block, ipaddress.IPv6Network))
    return [*four, *six]


def _number(block: Block) -> object:
    """A block of IPv6 addresses as nft takes it for bytes without a type."""
    first, last = hex(int(block.network_address)), hex(int(block.broadcast_address))
    return first if first == last else {"range": [first, last]}
