"""What networking depends on and hostd does not make: looked at, and explained.

Other programs' firewalls that would drop guests' frames, interfaces that are not there, an underlay too small.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from hostd.network import nft, rtnetlink
from hostd.network.document import Document
from hostd.network.rtnetlink import Link
from hostd.spec import HostCheck, HostError, SegmentType

OVERHEAD: Final = {4: 50, 6: 70}
"""Bytes VXLAN adds, by the underlay's IP version."""

_OWN: Final = "skydeck"
_FAMILIES: Final = ("ip", "ip6", "inet", "bridge")


def checks(document: Document, links: dict[str, Link], *, calls_iptables: bool) -> tuple[HostCheck, ...]:
    """Every check, passed or not. Blocks; does not raise."""
    if not document.present:
        return ()
    found = [*_uplinks(document, links), *_underlay(document, links)]
    try:
        found += _foreign(calls_iptables=calls_iptables)
    except HostError as bad:
        found.append(HostCheck(name="firewall", ok=False, detail=f"other firewalls could not be looked at: {bad}"))
    return tuple(found)


def _uplinks(document: Document, links: dict[str, Link]) -> Iterator[HostCheck]:
    needed = {network.physnet: network.mtu for network in document.spec.networks if network.physnet is not None}
    for physnet, mtu in sorted(needed.items()):
        interface = document.spec.underlay.physnets.get(physnet)
        name = f"uplink {physnet}"
        if interface is None:
            yield HostCheck(
                name=name, ok=False, detail=f"no interface is known to lead to {physnet}",
                hint=f"skydeck host set NAME --physnet {physnet}=INTERFACE",
            )  # fmt: skip
        elif interface not in links:
            yield HostCheck(
                name=name, ok=False, detail=f"interface {interface}, which leads to {physnet}, is not there",
                hint=f"Plug it in, or skydeck host set NAME --physnet {physnet}=INTERFACE",
            )  # fmt: skip
        elif links[interface].mtu < mtu:
            yield HostCheck(
                name=name, ok=False,
                detail=f"interface {interface} has an MTU of {links[interface].mtu}, networks on it have {mtu}",
                hint=f"ip link set {interface} mtu {mtu}",
            )  # fmt: skip
        else:
            yield HostCheck(name=name, ok=True)


def _underlay(document: Document, links: dict[str, Link]) -> Iterator[HostCheck]:
    """The tunnel endpoint is an address of this host, on an interface that tunnels fit through."""
    vtep = document.spec.underlay.vtep
    tunnelled = [network.mtu for network in document.spec.networks if network.type is SegmentType.VXLAN]
    if vtep is None or not tunnelled or not document.spec.underlay.vteps:
        return
    indexes = {index for index, own in rtnetlink.addresses().items() if any(_is(one, vtep) for one in own)}
    holders = [link for link in links.values() if link.index in indexes]
    if not holders:
        yield HostCheck(
            name="vtep", ok=False, detail=f"the tunnel endpoint {vtep} is no address of this host",
            hint="skydeck host set NAME --vtep ADDRESS",
        )  # fmt: skip
        return
    below, needed = holders[0], max(tunnelled) + OVERHEAD[ipaddress.ip_address(vtep).version]
    if below.mtu < needed:
        yield HostCheck(
            name="mtu", ok=False,
            detail=f"interface {below.name} has an MTU of {below.mtu}, tunnels need {needed}: large packets are lost",
            hint=f"ip link set {below.name} mtu {needed} on every host, or networks with a smaller --mtu",
        )  # fmt: skip
    else:
        yield HostCheck(name="mtu", ok=True)


def _is(interface: str, address: str) -> bool:
    return ipaddress.ip_interface(interface).ip == ipaddress.ip_address(address)


def _foreign(*, calls_iptables: bool) -> Iterator[HostCheck]:
    """Other programs' chains that guests' frames pass. With conntrack on bridges they pass none of IP's."""
    dropping, translating = [], []
    for item in nft.run([{"list": {"chains": {}}}]):
        chain = item.get("chain", {})
        family, table = chain.get("family"), str(chain.get("table", ""))
        if family not in _FAMILIES or table.startswith((_OWN, "sk")) or "hook" not in chain:
            continue
        if family != "bridge" and not calls_iptables:
            continue
        where = f"{family} {table} {chain['name']}"
        if chain["hook"] == "forward" and chain.get("policy") == "drop":
            dropping.append(where)
        if chain["hook"] == "postrouting" and chain.get("type") == "nat" and family != "bridge":
            translating.append((family, table, str(chain["name"])))
    masking = [" ".join(place) for place in translating if _masquerades(*place)]
    if dropping:
        yield HostCheck(
            name="forward_drop", ok=False,
            detail=f"another firewall drops what is forwarded, guests' frames with it: {', '.join(dropping)}",
            hint='Have it accept iifname "skb-*" oifname "skb-*"; docker and ufw set this policy.',
        )  # fmt: skip
    if masking:
        yield HostCheck(
            name="masquerade", ok=False,
            detail=f"another firewall hides guests behind this host's address: {', '.join(masking)}",
            hint='Have it pass over iifname "skb-*" oifname "skb-*".',
        )  # fmt: skip
    if not dropping and not masking:
        yield HostCheck(name="forward_drop", ok=True)


def _masquerades(family: str, table: str, chain: str) -> bool:
    """Whether a chain masquerades whatever interface it leaves by."""
    for item in nft.list_chain(family, table, chain) or []:
        rule = item.get("rule", {}).get("expr", [])
        if any("masquerade" in part for part in rule) and not any(_names_interface(part) for part in rule):
            return True
    return False


def _names_interface(part: dict[str, object]) -> bool:
    match = part.get("match")
    left = match.get("left") if isinstance(match, dict) else None
    meta = left.get("meta") if isinstance(left, dict) else None
    return isinstance(meta, dict) and meta.get("key") in ("oifname", "oif", "iifname", "iif")
