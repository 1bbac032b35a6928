"""Makes one router or gateway in its namespace, whatever was there before. Blocks; raises HostError, OSError."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from hostd.network import conntrack, namespaces, nft, rtnetlink
from hostd.network.netlink import Netlink
from hostd.network.routers import inside, sysctls
from hostd.network.routers.announcing import announce
from hostd.network.routers.rules import TABLE, TRANSIT, gateway_rules, router_rules
from hostd.network.routers.wanted import MARK, Gateway, Outside, Router
from hostd.network.rtnetlink import GONE, Forward, Route, Rule
from hostd.spec import ErrorCode, HostError

EXTERNAL: Final = "ext"
OUTSIDE: Final = "qx"
TRANSIT_INSIDE: Final = "sn"
"""The router's end of its cable to the gateway; the gateway's is `t-` and the router's digits."""

_FLOATING: Final = 200
"""The first of the tables that guests with floating IPs leave by, one for each external subnet; and the priority of the
rules that lead there."""
_SPECIFIC_FIRST: Final = 100
_TRANSLATED: Final = 100
"""In a gateway: table, and priority of the rules, of what routers translated. It knows the outside and nothing else: a
project's block, routed as it is, would otherwise swallow what other projects send there."""


def transit_name(router: str) -> str:
    """The gateway's end of a router's cable, by the router's namespace."""
    return f"t-{router[4:]}"


def of_gateway(link: str) -> bool:
    """Its other links are its routers' business."""
    return link == EXTERNAL


def of_router(link: str) -> bool:
    """All that is in a router's namespace is its own."""
    return True


def make_gateway(netlink: Netlink, gateway: Gateway) -> None:
    _unmark(netlink, gateway.outer)
    namespaces.create(gateway.namespace)
    with namespaces.inside(gateway.namespace):
        sysctls.prepare()
    netlink.make_cable(
        gateway.outer, alternative=gateway.alternative, bridge=gateway.bridge, mtu=gateway.mtu, far=EXTERNAL,
        namespace=gateway.namespace, far_mac=gateway.mac,
    )  # fmt: skip
    netlink.configure(gateway.namespace, EXTERNAL, mac=gateway.mac, mtu=gateway.mtu, addresses=(gateway.address,))
    with namespaces.inside(gateway.namespace):
        sysctls.settle(EXTERNAL)
        index = rtnetlink.links()[EXTERNAL].index
        block = str(ipaddress.ip_interface(gateway.address).network)
        out = {Route(destination=block, index=index, table=_TRANSLATED)}
        if gateway.nexthop is not None:
            for table in (rtnetlink.MAIN, _TRANSLATED):
                out.add(Route(destination="0.0.0.0/0", index=index, gateway=gateway.nexthop, table=table))
        kept = {route for route in rtnetlink.routes() if route.index != index}
        _routes(frozenset(out | kept))
    nft.run(gateway_rules(gateway, mark=gateway.mark), namespace=gateway.namespace)
    inside.seal(gateway.namespace, of_gateway)
    announce(gateway.namespace, EXTERNAL, gateway.mac, [str(ipaddress.ip_interface(gateway.address).ip)])
    netlink.mark(gateway.outer, prefix=MARK, mark=gateway.mark)


def make_router(netlink: Netlink, router: Router, gateway: Gateway | None) -> None:
    """`gateway` of its external network, which stands already; None where there is none here."""
    if router.carrier is not None:
        _unmark(netlink, router.carrier)
    new = not namespaces.exists(router.namespace)
    namespaces.create(router.namespace)
    with namespaces.inside(router.namespace):
        sysctls.prepare()
    for leg in router.legs:
        netlink.make_cable(
            leg.outer, alternative=leg.alternative, bridge=leg.bridge, mtu=leg.mtu, far=leg.inner,
            namespace=router.namespace, far_mac=leg.mac,
        )  # fmt: skip
        netlink.configure(router.namespace, leg.inner, mac=leg.mac, mtu=leg.mtu, addresses=leg.addresses)
        netlink.set_port(leg.outer, learning=False, flood=False)
        index = rtnetlink.links()[leg.outer].index
        rtnetlink.change([rtnetlink.forward(Forward(index, leg.mac, None))])
    before = _floating_there(router.namespace)
    fixed_before = None if new else _fixed_there(router.namespace)
    if router.outside is not None:
        _make_outside(netlink, router, router.outside)
    _drop_links(router)
    transit = _make_transit(netlink, router, gateway) if gateway is not None else None
    _settle_routing(router, transit)
    nft.run(router_rules(router, mark=router.mark), namespace=router.namespace)
    inside.seal(router.namespace, of_router)
    if fixed_before is not None:
        _forget_flows(router, fixed_before)
    _tell_of_floating(router, before)
    if router.carrier is not None:
        netlink.mark(router.carrier, prefix=MARK, mark=router.mark)


def _unmark(netlink: Netlink, carrier: str) -> None:
    """Before anything is changed: a document taken back after a crash would find its own mark, and half of another."""
    try:
        socket.if_nametoindex(carrier)
    except OSError:
        return  # it is not there yet
    netlink.mark(carrier, prefix=MARK, mark=None)


def _make_outside(netlink: Netlink, router: Router, outside: Outside) -> None:
    netlink.make_cable(
        outside.outer, alternative=outside.alternative, bridge=outside.bridge, mtu=outside.mtu, far=OUTSIDE,
        namespace=router.namespace, far_mac=outside.mac,
    )  # fmt: skip
    netlink.configure(
        router.namespace, OUTSIDE, mac=outside.mac, mtu=outside.mtu,
        addresses=[f"{one.address}/32" for one in outside.floating],
    )  # fmt: skip


def _drop_links(router: Router) -> None:
    """Cables that this router has no more: to networks, to the outside, to a gateway."""
    keep = {leg.inner for leg in router.legs} | {"lo"}
    keep |= {OUTSIDE} if router.outside is not None else set()
    keep |= {TRANSIT_INSIDE} if router.external is not None else set()
    with namespaces.inside(router.namespace):
        for link in rtnetlink.links().values():
            if link.kind == "veth" and link.name not in keep:
                rtnetlink.change([rtnetlink.removal(link.index)], fine=GONE)


def _make_transit(netlink: Netlink, router: Router, gateway: Gateway) -> str:
    """The router's cable to the gateway, addressed at both ends; the gateway's address."""
    near = transit_name(router.namespace)
    with namespaces.inside(gateway.namespace):
        theirs = rtnetlink.links()
        used = rtnetlink.addresses()
    own = (
        next((one for one in used.get(theirs[near].index, ()) if one.endswith("/31")), None) if near in theirs else None
    )
    address = own or _free(used)
    first = ipaddress.ip_interface(address).ip
    with namespaces.inside(router.namespace):
        there = TRANSIT_INSIDE in rtnetlink.links()
    if near not in theirs or not there:
        netlink.make_pair(gateway.namespace, near, router.namespace, TRANSIT_INSIDE, mtu=gateway.mtu)
    netlink.configure(gateway.namespace, near, mtu=gateway.mtu, addresses=(address,))
    netlink.configure(router.namespace, TRANSIT_INSIDE, mtu=gateway.mtu, addresses=(f"{first + 1}/31",))
    blocks = dict(gateway.behind).get(router.uuid, ())
    with namespaces.inside(gateway.namespace):
        sysctls.settle(near)
        index = rtnetlink.links()[near].index
        wanted = {Route(destination=block, index=index, gateway=str(first + 1)) for block in blocks}
        others = {route for route in rtnetlink.routes() if route.index != index}
        _routes(frozenset(wanted | others))
        outward = Rule(priority=_TRANSLATED, table=_TRANSLATED, source=str(first + 1))
        if outward not in rtnetlink.rules():
            rtnetlink.change([rtnetlink.rule(outward)])
    return str(first)


def _free(used: dict[int, frozenset[str]]) -> str:
    """The lowest pair of addresses no router of the gateway has."""
    taken = {one for addresses in used.values() for one in addresses}
    for pair in ipaddress.ip_network(TRANSIT).subnets(new_prefix=31):
        if (address := f"{pair.network_address}/31") not in taken:
            return address
    raise HostError(ErrorCode.NETWORK, f"{TRANSIT} is used up: a host has room for two million routers")


def _settle_routing(router: Router, transit: str | None) -> None:
    """Exactly these routes and rules."""
    with namespaces.inside(router.namespace):
        links = rtnetlink.links()
        for name in links:
            if name != "lo":
                sysctls.settle(name)
        wanted: set[Route] = set()
        rules: set[Rule] = set()
        if transit is not None:
            wanted.add(Route(destination="0.0.0.0/0", index=links[TRANSIT_INSIDE].index, gateway=transit))
        for route in router.routes:
            if (index := _towards(router, links, route.nexthop)) is not None:
                block = str(ipaddress.ip_network(route.destination))
                wanted = {one for one in wanted if one.destination != block}
                wanted.add(Route(destination=block, index=index, gateway=route.nexthop))
        outside = router.outside
        if outside is not None:
            index = links[OUTSIDE].index
            tables = {way: table for table, way in enumerate(outside.ways, _FLOATING)}
            for (block, nexthop), table in tables.items():
                wanted.add(Route(destination=block, index=index, table=table))
                if nexthop is not None:
                    wanted.add(Route(destination="0.0.0.0/0", index=index, gateway=nexthop, table=table))
            rules.add(Rule(priority=_SPECIFIC_FIRST, table=rtnetlink.MAIN, only_specific=True))
            for one in outside.floating:
                table = tables[one.block, one.nexthop]
                rules.add(Rule(priority=_FLOATING, table=table, source=one.fixed))
        _routes(frozenset(wanted))
        here = rtnetlink.rules()
        rtnetlink.change((rtnetlink.rule(one, delete=True) for one in here - rules), fine=GONE)
        rtnetlink.change(rtnetlink.rule(one) for one in rules - here)


def _towards(router: Router, links: dict[str, rtnetlink.Link], nexthop: str) -> int | None:
    """The leg on whose subnet a next hop is."""
    wanted = ipaddress.ip_address(nexthop)
    for leg in router.legs:
        if any(wanted in ipaddress.ip_interface(address).network for address in leg.addresses):
            return links[leg.inner].index
    return None


def _routes(wanted: frozenset[Route]) -> None:
    """Exactly these of ours, in the namespace of this thread. What it takes in for itself is others' business."""
    here = {one for one in rtnetlink.routes() if one.table != rtnetlink.LOCAL}
    rtnetlink.change((rtnetlink.route(one, delete=True) for one in here - wanted), fine=GONE)
    # On-link blocks first: gateways are looked for on them.
    rtnetlink.change(rtnetlink.route(one) for one in sorted(wanted - here, key=lambda one: one.gateway is not None))


def _floating_there(namespace: str) -> frozenset[str]:
    with namespaces.inside(namespace):
        links = rtnetlink.links()
        if OUTSIDE not in links:
            return frozenset()
        return rtnetlink.addresses().get(links[OUTSIDE].index, frozenset())


def _fixed_there(namespace: str) -> frozenset[tuple[str, str]]:
    """Floating and fixed addresses as the rules have them."""
    listing = nft.list_map(*TABLE, "floating_in", namespace=namespace) or []
    return frozenset((pair[0], pair[1]) for item in listing for pair in item.get("map", {}).get("elem", ()))


def _forget_flows(router: Router, before: frozenset[tuple[str, str]]) -> None:
    """Connections by a floating IP that went or moved, and those that a guest had under way when it got one."""
    floating = router.outside.floating if router.outside is not None else ()
    changed = before ^ {(one.address, one.fixed) for one in floating}
    if changed:
        ends = {ipaddress.ip_address(address) for pair in changed for address in pair}
        flows = conntrack.flows(range(1 << 16), namespace=router.namespace)
        stale = [flow for flow in flows if {flow.source, flow.destination} & ends]
        conntrack.delete(stale, namespace=router.namespace)


def _tell_of_floating(router: Router, before: frozenset[str]) -> None:
    """New addresses are announced."""
    if router.outside is not None:
        fresh = sorted(f"{one.address}/32" for one in router.outside.floating if f"{one.address}/32" not in before)
        if fresh:
            announce(router.namespace, OUTSIDE, router.outside.mac, [one.removesuffix("/32") for one in fresh])
