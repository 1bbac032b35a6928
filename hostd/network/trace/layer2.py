"""Hops of a network itself: lease, tap, bridge, neighbour, tunnel, uplink."""

from __future__ import annotations

from hostd.network import names, namespaces, rtnetlink
from hostd.network.document import Document, ethernet
from hostd.network.part import World
from hostd.network.rtnetlink import Link
from hostd.network.services.configuration import leases, serves
from hostd.spec import Hop, NetworkSpec, PortSpec, RemotePort, Verdict


def _hop(kind: str, name: str, *, wrong: str, configured: str, seen: str, link: Link | None, hint: str = "") -> Hop:
    """Passes where nothing is wrong; missing where there is no link."""
    verdict = Verdict.PASS if not wrong else Verdict.MISSING if link is None else Verdict.DROP
    return Hop(
        kind=kind,
        name=name,
        verdict=verdict,
        configured=configured,
        seen=wrong or seen,
        packets=None if link is None else sum(link.packets),
        bytes=None if link is None else sum(link.bytes),
        hint=hint if wrong else "",
    )


def tap_hop(world: World, port: PortSpec, network: NetworkSpec) -> Hop:
    """The guest's interface, on its bridge and up."""
    name = names.tap(port.uuid)
    link, bridge = world.links.get(name), world.links.get(names.bridge(network.uuid))
    wrong = ""
    if link is None:
        wrong = "it is not there: the guest is not running, or has no such interface"
    elif bridge is None or link.master != bridge.index:
        wrong = "it is not on its bridge"
    elif not link.up:
        wrong = "it is down"
    elif link.mtu > network.mtu:
        wrong = f"its MTU {link.mtu} is larger than the network's {network.mtu}: large packets are lost"
    return _hop(
        "tap", name, wrong=wrong, configured=f"on {names.bridge(network.uuid)}, MTU {network.mtu}",
        seen=f"up, MTU {link.mtu}" if link else "", link=link,
        hint="skydeck server reboot --hard plugs it in anew",
    )  # fmt: skip


def bridge_hop(world: World, network: NetworkSpec) -> Hop:
    name = names.bridge(network.uuid)
    link = world.links.get(name)
    wrong = "it is not there" if link is None else "" if link.up else "it is down"
    return _hop(
        "bridge", name, wrong=wrong, configured=f"MTU {network.mtu}", seen=f"up, MTU {link.mtu}" if link else "",
        link=link, hint="skydeck host repair HOST --networking",
    )  # fmt: skip


def lease_hop(document: Document, network: NetworkSpec, port: PortSpec) -> Hop:
    """The guest's lease: told to the DHCP server of this host."""
    space = names.namespace(network.uuid)
    if not serves(document, network):
        return Hop(kind="dhcp", name=space, verdict=Verdict.PASS, configured="no DHCP on this network", seen="none")
    told = leases(document, network)
    mine = any(ethernet(port.mac) in text for text in told.values())
    there = namespaces.exists(space)
    wrong = "" if mine and there else "its namespace is missing" if not there else "the port has no lease"
    return Hop(
        kind="dhcp", name=space, verdict=Verdict.PASS if not wrong else Verdict.MISSING,
        configured=", ".join(address.ip for address in port.addresses), seen=wrong or "leased",
        hint="skydeck host repair HOST --networking" if wrong else "",
    )  # fmt: skip


def neighbour_hop(world: World, network: NetworkSpec, address: str, mac: str) -> Hop:
    """That the bridge answers for an address of another host."""
    name = names.bridge(network.uuid)
    link = world.links.get(name)
    if network.flood:
        return Hop(kind="neighbour", name=name, verdict=Verdict.PASS, configured="asked of every host", seen="")
    known = {(one.index, one.ip): one.mac for one in rtnetlink.neighbours()}
    found = known.get((link.index, address)) if link is not None else None
    wrong = "" if found == ethernet(mac) else f"{address} is {found or 'not known'}"
    return _hop(
        "neighbour", name, wrong=wrong, configured=f"{address} is {ethernet(mac)}", seen=f"{address} is {found}",
        link=link if not wrong or found else None, hint="skydeck host repair HOST --networking",
    )  # fmt: skip


def vxlan_hop(world: World, network: NetworkSpec, remote: RemotePort | None) -> Hop:
    """The tunnel; towards one host where a port there is meant."""
    name = names.vxlan(network.uuid)
    link = world.links.get(name)
    wrong = "it is not there" if link is None else "" if link.up else "it is down"
    configured, seen = f"VNI {network.segment}", f"VNI {link.tag}" if link else ""
    if remote is not None and link is not None and not wrong:
        mac = ethernet(remote.mac)
        vteps = sorted(
            one.vtep or "" for one in rtnetlink.forwards() if one.index == link.index and one.mac == mac and one.vtep
        )
        configured, seen = f"{mac} at {remote.vtep}", f"{mac} at {', '.join(vteps) or 'nobody'}"
        wrong = "" if vteps == [remote.vtep] else seen
    return _hop(
        "vxlan", name, wrong=wrong, configured=configured, seen=seen, link=link,
        hint="skydeck host repair HOST --networking",
    )  # fmt: skip


def uplink_hop(document: Document, world: World, network: NetworkSpec) -> Hop:
    """Where a provider network leaves the host."""
    interface = document.spec.underlay.physnets.get(network.physnet or "", "")
    link = world.links.get(interface)
    wrong = f"no interface leads to {network.physnet}" if link is None else "" if link.up else "it is down"
    return _hop(
        "external", interface or "?", wrong=wrong, configured=f"leads to {network.physnet}", seen="up", link=link,
        hint=f"skydeck host set HOST --physnet {network.physnet}=INTERFACE",
    )  # fmt: skip
