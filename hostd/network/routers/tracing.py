"""A router's hops of a packet's way: leg, route, translation, and the leg to the outside."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from hostd.network import names, namespaces, nft, rtnetlink
from hostd.network.document import Document
from hostd.network.part import World
from hostd.network.routers.making import EXTERNAL, OUTSIDE, TRANSIT_INSIDE
from hostd.network.routers.rules import TABLE
from hostd.network.routers.wanted import Gateway, Router, gateways, routers
from hostd.network.rtnetlink import Link
from hostd.spec import Hop, PortSpec, Verdict

_REPAIR = "skydeck host repair HOST --networking"


def leaving(document: Document, world: World, port: PortSpec, address: str) -> Iterator[Hop]:
    """From a port to an address of another network, or of none of ours. Blocks; raises HostError."""
    router = _router_of(document, port)
    if router is None:
        yield Hop(
            kind="router", name="-", verdict=Verdict.MISSING, seen="no router is on this network",
            hint="skydeck router create, then skydeck router add subnet",
        )  # fmt: skip
        return
    yield _namespace_hop(world, router)
    leg = next((leg for leg in router.legs if _on(leg.addresses, address)), None)
    if leg is not None:
        yield _link_hop("route", world.links.get(leg.outer), leg.outer, f"{address} is on {leg.bridge}")
        yield from _neighbour(document, world, router, leg.bridge, address)
        return
    static = next((one for one in router.routes if _within(address, one.destination)), None)
    if static is not None:
        yield Hop(
            kind="route", name=router.namespace, verdict=Verdict.PASS,
            configured=f"{static.destination} via {static.nexthop}",
        )  # fmt: skip
        return
    yield from _outwards(document, world, router, port, address)


def entering(document: Document, world: World, port: PortSpec, address: str) -> Iterator[Hop]:
    """From an address of another network to a port. Blocks; raises HostError."""
    router = _router_of(document, port)
    if router is None:
        yield Hop(kind="router", name="-", verdict=Verdict.MISSING, seen="no router is on this network")
        return
    outside = router.outside
    if outside is not None and not any(_on(leg.addresses, address) for leg in router.legs):
        blocks = ", ".join(block for block, _ in outside.ways)
        yield _link_hop("external", world.links.get(outside.outer), outside.outer, f"floating IPs of {blocks}")
        own = [one.address for one in outside.floating if one.fixed in {each.ip for each in port.addresses}]
        if own:
            yield _translation(router.namespace, "inwards", f"{own[0]} is {port.addresses[0].ip}")
    yield _namespace_hop(world, router)


def _outwards(document: Document, world: World, router: Router, port: PortSpec, address: str) -> Iterator[Hop]:
    own = {one.ip for one in port.addresses}
    floating = next((one for one in router.outside.floating if one.fixed in own), None) if router.outside else None
    if floating is not None and router.outside is not None:
        yield _inner("route", router.namespace, OUTSIDE, f"from {floating.fixed} by {floating.nexthop or 'the link'}")
        yield _translation(router.namespace, "outwards", f"{floating.fixed} is seen as {floating.address}")
        yield _link_hop("external", world.links.get(router.outside.outer), router.outside.outer, router.outside.bridge)
        return
    gateway = next((one for one in gateways(document) if one.network == router.external), None)
    if gateway is None:
        yield Hop(
            kind="route", name=router.namespace, verdict=Verdict.MISSING, seen=f"no way to {address}",
            hint="skydeck router set --external-gateway NETWORK ROUTER",
        )  # fmt: skip
        return
    yield _inner("route", router.namespace, TRANSIT_INSIDE, f"default to {gateway.namespace}")
    yield from _gateway_hops(world, gateway, router)


def _gateway_hops(world: World, gateway: Gateway, router: Router) -> Iterator[Hop]:
    if router.snat:
        seen_as = str(ipaddress.ip_interface(gateway.address).ip)
        yield _translation(gateway.namespace, "outwards", f"seen as {seen_as}")
    yield _inner("external", gateway.namespace, EXTERNAL, f"{gateway.address} via {gateway.nexthop or 'nobody'}")
    yield _link_hop("external", world.links.get(gateway.outer), gateway.outer, f"on {gateway.bridge}")


def _neighbour(document: Document, world: World, router: Router, bridge: str, address: str) -> Iterator[Hop]:
    """Behind a leg: on this host, or over the network's tunnel."""
    from hostd.network.trace.layer2 import neighbour_hop, uplink_hop, vxlan_hop

    network = next(one for one in document.spec.networks if names.bridge(one.uuid) == bridge)
    if any(each.ip == address for port in document.ports_of[network.uuid] for each in port.addresses):
        return
    remote = next((one for one in network.remote if address in one.ips), None)
    if remote is not None:
        yield neighbour_hop(world, network, address, remote.mac)
        yield vxlan_hop(world, network, remote)
    elif network.physnet is not None:
        yield uplink_hop(document, world, network)
    else:
        yield Hop(
            kind="neighbour", name=bridge, verdict=Verdict.MISSING, seen=f"nobody on this network has {address}",
            hint="Does its port exist, and is it on a host? skydeck port list",
        )  # fmt: skip


def _router_of(document: Document, port: PortSpec) -> Router | None:
    """The router that holds the gateway of the port's subnet; else any that is on its network."""
    found = [
        (router, leg) for router in routers(document) for leg in router.legs if leg.bridge == names.bridge(port.network)
    ]
    gateways_of = {document.subnets[each.subnet].gateway for each in port.addresses}
    for router, leg in found:
        if any(str(ipaddress.ip_interface(one).ip) in gateways_of for one in leg.addresses):
            return router
    return found[0][0] if found else None


def _namespace_hop(world: World, router: Router) -> Hop:
    there = router.namespace in world.namespaces
    carrier = world.links.get(router.carrier or "")
    so = there and carrier is not None and router.mark in carrier.alternatives
    return Hop(
        kind="router",
        name=router.namespace,
        verdict=Verdict.PASS if so else Verdict.MISSING,
        configured=", ".join(
            address for leg in router.legs for address in leg.addresses if not address.startswith("fe80")
        ),
        seen="as it should be" if so else "not as it should be" if there else "it is not there",
        hint="" if so else _REPAIR,
    )


def _link_hop(kind: str, link: Link | None, name: str, configured: str) -> Hop:
    so = link is not None and link.up
    return Hop(
        kind=kind,
        name=name,
        verdict=Verdict.PASS if so else Verdict.MISSING,
        configured=configured,
        seen="up" if so else "it is not there" if link is None else "it is down",
        packets=None if link is None else sum(link.packets),
        bytes=None if link is None else sum(link.bytes),
        hint="" if so else _REPAIR,
    )


def _inner(kind: str, namespace: str, name: str, configured: str) -> Hop:
    """A link inside a namespace, with its counters."""
    try:
        with namespaces.inside(namespace):
            link = rtnetlink.links().get(name)
    except OSError:
        link = None
    return _link_hop(kind, link, f"{namespace} {name}", configured)


def _translation(namespace: str, chain: str, configured: str) -> Hop:
    """What a namespace's translation has counted. A chain counts connections, not packets."""
    items = nft.list_chain(*TABLE, chain, namespace=namespace)
    counted = [
        expression["counter"]
        for item in items or ()
        for expression in item.get("rule", {}).get("expr", ())
        if isinstance(expression, dict) and isinstance(expression.get("counter"), dict)
    ]
    return Hop(
        kind="nat",
        name=f"{namespace} {chain}",
        verdict=Verdict.PASS if items is not None else Verdict.MISSING,
        configured=configured,
        seen="in place" if items is not None else "it is not there",
        packets=sum(one["packets"] for one in counted) if items is not None else None,
        bytes=sum(one["bytes"] for one in counted) if items is not None else None,
        hint="" if items is not None else _REPAIR,
    )


def _on(addresses: tuple[str, ...], address: str) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_interface(one).network for one in addresses)


def _within(address: str, block: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(block)
