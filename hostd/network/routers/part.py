"""The part `routers`: this host's routers and its ways to external networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from hostd.drivers import Step
from hostd.network import names, namespaces, nft, rtnetlink
from hostd.network.document import Document
from hostd.network.netlink import Link, Netlink
from hostd.network.part import World
from hostd.network.routers import inside
from hostd.network.routers.advertising import Advertiser, AdvertiserSeen
from hostd.network.routers.making import make_gateway, make_router, of_gateway, of_router, transit_name
from hostd.network.routers.rules import TABLE
from hostd.network.routers.wanted import Gateway, Router, gateways, routers
from hostd.spec import ErrorCode, HostError

LEGS: Final = ("skr-", "skx-", "ske-")
"""How the names of this part's links begin."""

AS_MADE: Final = "as made"


@attrs.frozen(kw_only=True)
class RoutersSeen:
    links: Mapping[str, Link]
    namespaces: frozenset[str]
    advertisers: Mapping[str, AdvertiserSeen]
    transits: frozenset[str]
    """Gateways' ends of cables to routers; they are in no look at the host's own links."""
    inside: Mapping[str, frozenset[str]] | None
    """Namespace to its addresses and, where they are so, mark and AS_MADE; None where marks outside are believed."""


class Routers:
    """See hostd.network.part.Part."""

    name: Final = "routers"
    steps: Final = ("gateways", "routers", "advertisers")
    removals: Final = ("advertisers_remove", "routers_remove")

    def __init__(self, netlink: Netlink, *, run: Path) -> None:
        self._netlink = netlink
        self._advertiser = Advertiser(run)

    def start(self) -> None:
        """Begin to keep the servers that announce prefixes."""
        self._advertiser.start()

    def stop(self) -> None:
        """Routers and their servers stay."""
        self._advertiser.stop()

    # ------------------------------------------------------------------ read and decide

    def seen(self, wanted: Document, world: World, *, deep: bool) -> RoutersSeen:
        found = None
        if deep:
            found = {
                name: _inside(name, mark) for name, mark in self._marks(wanted).items() if name in world.namespaces
            }
        return RoutersSeen(
            links=world.links,
            namespaces=world.namespaces,
            advertisers=self._advertiser.seen(wanted, deep=deep),
            transits=_transits(wanted, world),
            inside=found,
        )

    def plan(self, wanted: Document, seen: RoutersSeen) -> tuple[Step, ...]:
        """`gateways` and `routers` with those to be put right; `routers_remove` with namespaces and legs of none."""
        ways = [one.network for one in gateways(wanted) if _wrong_gateway(one, seen)]
        wrong = [one.uuid for one in routers(wanted) if _wrong_router(one, seen)]
        announce, silence = self._advertiser.plan(wanted, seen.advertisers)
        links, spaces = _stale(wanted, seen)
        steps = (
            ("gateways", {"networks": ways}),
            ("routers", {"routers": wrong}),
            ("advertisers", {"routers": announce}),
            ("advertisers_remove", {"routers": silence}),
            ("routers_remove", {"links": links, "namespaces": spaces}),
        )
        return tuple(Step(name, args) for name, args in steps if any(args.values()))

    def faults(self, wanted: Document, seen: RoutersSeen) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for gateway in gateways(wanted):
            if why := _wrong_gateway(gateway, seen):
                found[gateway.network] = why
        for router in routers(wanted):
            why = _wrong_router(router, seen) or self._advertiser.wrong(wanted, seen.advertisers, router.uuid)
            for leg in wanted.routers[router.uuid].legs if why else ():
                found[leg.network] = why
        return found

    def _marks(self, wanted: Document) -> dict[str, str]:
        """Namespace to the mark its table should carry."""
        every: list[Router | Gateway] = [*routers(wanted), *gateways(wanted)]
        return {one.namespace: one.mark for one in every}

    # ------------------------------------------------------------------ act

    def execute(self, step: Step, wanted: Document) -> None:
        """Raises HostError(NETWORK), once everything that can be done is done."""
        acts: dict[str, Callable[[Step, Document], None]] = {
            "gateways": self._gateways,
            "routers": self._routers,
            "advertisers": lambda step, wanted: self._advertiser.start_servers(wanted, step.args["routers"]),
            "advertisers_remove": lambda step, wanted: self._advertiser.end_servers(step.args["routers"]),
            "routers_remove": self._remove,
        }
        try:
            acts[step.name](step, wanted)
        except OSError as bad:
            raise HostError(ErrorCode.NETWORK, f"{step.name}: {bad}", step=step.name) from bad

    def _gateways(self, step: Step, wanted: Document) -> None:
        for gateway in gateways(wanted):
            if gateway.network in step.args["networks"]:
                make_gateway(self._netlink, gateway)

    def _routers(self, step: Step, wanted: Document) -> None:
        ways = {gateway.network: gateway for gateway in gateways(wanted)}
        failed = []
        for router in routers(wanted):
            if router.uuid in step.args["routers"]:
                try:
                    make_router(self._netlink, router, ways.get(router.external or ""))
                except (HostError, OSError) as bad:
                    failed.append(f"router {router.uuid}: {bad}")
        if failed:
            raise HostError(ErrorCode.NETWORK, "; ".join(failed))

    def _remove(self, step: Step, wanted: Document) -> None:
        for name in step.args["links"]:
            self._netlink.delete(name)
        for name in step.args["namespaces"]:
            self._netlink.remove_namespace(name)


def _wrong_gateway(gateway: Gateway, seen: RoutersSeen) -> str:
    link, bridge = seen.links.get(gateway.outer), seen.links.get(gateway.bridge)
    if link is None or gateway.namespace not in seen.namespaces:
        return f"the way out {gateway.namespace} is missing"
    so = bridge is not None and link.master == bridge.index and link.up and link.mtu == gateway.mtu
    if not so or gateway.mark not in link.alternatives:
        return f"the way out {gateway.namespace} is not as it should be"
    if seen.inside is not None and not {gateway.address, gateway.mark, AS_MADE} <= seen.inside.get(
        gateway.namespace, frozenset()
    ):
        return f"the way out {gateway.namespace} is not as it should be inside"
    return ""


def _wrong_router(router: Router, seen: RoutersSeen) -> str:
    if router.namespace not in seen.namespaces:
        return f"router {router.namespace} is missing"
    legs = [(leg.outer, leg.bridge, leg.mtu) for leg in router.legs]
    if router.outside is not None:
        legs.append((router.outside.outer, router.outside.bridge, router.outside.mtu))
    for name, bridge_name, mtu in legs:
        link, bridge = seen.links.get(name), seen.links.get(bridge_name)
        if link is None:
            return f"router {router.namespace} has no leg {name}"
        if bridge is None or link.master != bridge.index or not link.up or link.mtu != mtu:
            return f"leg {name} of router {router.namespace} is not as it should be"
    if router.external is not None and transit_name(router.namespace) not in seen.transits:
        # A way out that is made anew took its routers' cables with it.
        return f"router {router.namespace} has no cable to its way out"
    carrier = seen.links.get(router.carrier or "")
    if carrier is None or router.mark not in carrier.alternatives:
        return f"router {router.namespace} is not as it should be"
    if seen.inside is not None:
        wanted = {address for leg in router.legs for address in leg.addresses} | {router.mark, AS_MADE}
        wanted |= {f"{one.address}/32" for one in (router.outside.floating if router.outside is not None else ())}
        if not wanted <= seen.inside.get(router.namespace, frozenset()):
            return f"router {router.namespace} is not as it should be inside"
    return ""


def _transits(wanted: Document, world: World) -> frozenset[str]:
    found: set[str] = set()
    for gateway in gateways(wanted):
        if gateway.namespace in world.namespaces:
            with suppress(OSError), namespaces.inside(gateway.namespace):
                found |= {link.name for link in rtnetlink.links().values() if link.up}
    return frozenset(found)


def _inside(namespace: str, mark: str) -> frozenset[str]:
    """Addresses of a namespace, the mark when its table carries it, and AS_MADE when nothing was changed since."""
    try:
        with namespaces.inside(namespace):
            found = {address for addresses in rtnetlink.addresses().values() for address in addresses}
    except OSError:
        return frozenset()
    if nft.list_chain(*TABLE, mark, namespace=namespace) is not None:
        found.add(mark)
    if inside.as_made(namespace, of_gateway if namespace.startswith("skg-") else of_router):
        found.add(AS_MADE)
    return frozenset(found)


def _stale(wanted: Document, seen: RoutersSeen) -> tuple[list[str], list[str]]:
    """Legs and namespaces of ours that no router or gateway takes."""
    legs = {name for router in routers(wanted) for name in router.outer()}
    legs |= {gateway.outer for gateway in gateways(wanted)}
    spaces = {router.namespace for router in routers(wanted)} | {gateway.namespace for gateway in gateways(wanted)}
    links = [name for name in seen.links if name.startswith(LEGS) and names.OURS.fullmatch(name) and name not in legs]
    gone = [
        name
        for name in seen.namespaces
        if name.startswith(("skr-", "skg-")) and names.OURS.fullmatch(name) and name not in spaces
    ]
    return sorted(links), sorted(gone)
