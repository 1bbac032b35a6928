"""The part `links`: makes the links of each network, corrects them, and takes away what no document names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import attrs

from hostd.drivers import Step
from hostd.network import names, namespaces, rtnetlink
from hostd.network.document import Document
from hostd.network.links.wanted import MARK, Leg, Uplink, Wanted, wanted
from hostd.network.netlink import Link, Netlink
from hostd.network.part import World
from hostd.spec import ErrorCode, HostError, NetworkSpec

OWNED: Final = ("skb-", "skv-", "skd-", "sku-", "skw-", "skl-")
"""How the names of this part's links begin."""


def bridge_of(document: Document, network: str) -> str:
    """The bridge that a network of the document is on this host, whatever leads out of it."""
    return names.bridge(document.networks[network].uuid)


@attrs.frozen(kw_only=True)
class LinksSeen:
    links: Mapping[str, Link]
    namespaces: frozenset[str]
    services: Mapping[str, tuple[str, int, frozenset[str]]] | None
    """Namespace to MAC, MTU and addresses of its `svc`, where they were read; None where marks are believed."""


class Links:
    """See hostd.network.part.Part."""

    name: Final = "links"
    steps: Final = ("links",)
    removals: Final = ("links_remove",)

    def __init__(self, netlink: Netlink, *, calls_iptables: Callable[[], bool]) -> None:
        """`calls_iptables`: whether replies are recognised by br_netfilter, which bridges must be told."""
        self._netlink = netlink
        self._calls_iptables = calls_iptables

    # ------------------------------------------------------------------ read and decide

    def seen(self, document: Document, world: World, *, deep: bool) -> LinksSeen:
        services = None
        if deep:
            spaces = [name for name in world.namespaces if name.startswith("skn-")]
            services = {name: found for name in spaces if (found := _service(name)) is not None}
        return LinksSeen(links=world.links, namespaces=world.namespaces, services=services)

    def plan(self, document: Document, seen: LinksSeen) -> tuple[Step, ...]:
        """`links` with the networks to be put right; `links_remove` with the links and namespaces nobody asks for.

        Raises HostError(CONFLICT) for another network of the same short name.
        """
        steps = []
        every = self._wanted(document)
        for one in every:
            _refuse_conflict(one, seen.links)
        wrong = [one.network for one in every if self._why(one, seen)]
        if wrong:
            steps.append(Step("links", {"networks": wrong}))
        left, spaces = _stale(every, seen)
        if left or spaces:
            steps.append(Step("links_remove", {"links": left, "namespaces": spaces}))
        return tuple(steps)

    def faults(self, document: Document, seen: LinksSeen) -> Mapping[str, str]:
        found = {}
        for one in self._wanted(document):
            if why := one.problem or self._why(one, seen):
                found[one.network] = why
        for bridge, taps in _kept(self._wanted(document), seen).items():
            found[""] = f"{bridge} is kept: {', '.join(taps)} are still on it"
        return found

    def _wanted(self, document: Document) -> list[Wanted]:
        if not document.present:
            return []
        calls = self._calls_iptables()
        return [wanted(document, network, calls_iptables=calls) for network in document.spec.networks]

    def _why(self, one: Wanted, seen: LinksSeen) -> str:
        why = one.wrong(seen.links, seen.namespaces)
        if why or one.leg is None or seen.services is None:
            return why
        if seen.services.get(one.leg.namespace) != (one.leg.mac, one.leg.mtu, frozenset(one.leg.addresses)):
            return f"service leg {one.leg.name} is not as it should be inside"
        return ""

    # ------------------------------------------------------------------ act

    def execute(self, step: Step, document: Document) -> None:
        """Raises HostError(NETWORK), once everything that can be done is done."""
        if step.name == "links_remove":
            for name in step.args["links"]:
                self._netlink.delete(name)
            for name in step.args["namespaces"]:
                self._netlink.remove_namespace(name)
            return
        calls = self._calls_iptables()
        failed, hint = [], ""
        for uuid in step.args["networks"]:
            network = document.networks[uuid]
            try:
                self._make(wanted(document, network, calls_iptables=calls), network)
            except HostError as bad:
                failed.append(f"network {uuid}: {bad}")
                hint = hint or bad.error.hint
        if failed:
            raise HostError(ErrorCode.NETWORK, "; ".join(failed), hint=hint)

    def unmet(self, document: Document, links: Mapping[str, Link]) -> tuple[str, ...]:
        """What of the document this host cannot do as it is, each in words."""
        found = []
        for one in self._wanted(document):
            if one.problem:
                found.append(one.problem)
            elif one.uplink is not None and one.uplink.interface not in links:
                found.append(f"interface {one.uplink.interface} is not on this host")
        return tuple(dict.fromkeys(found))

    def _make(self, one: Wanted, network: NetworkSpec) -> None:
        self._netlink.make_bridge(**attrs.asdict(one.bridge))
        if one.tunnel is not None:
            self._netlink.make_vxlan(**attrs.asdict(one.tunnel))
        if one.leg is not None:
            self._make_leg(one.leg)
        if one.uplink is not None:
            self._make_uplink(one.uplink, network)

    def _make_leg(self, leg: Leg) -> None:
        self._netlink.make_cable(
            leg.name, alternative=leg.alternative, bridge=leg.bridge, mtu=leg.mtu, far=names.SERVICE,
            namespace=leg.namespace, far_mac=leg.mac,
        )  # fmt: skip
        _take_no_advice(leg.namespace)
        self._netlink.configure(leg.namespace, names.SERVICE, mac=leg.mac, mtu=leg.mtu, addresses=leg.addresses)
        self._netlink.mark(leg.name, prefix=MARK, mark=leg.mark)

    def _make_uplink(self, uplink: Uplink, network: NetworkSpec) -> None:
        links = rtnetlink.links()
        below = links.get(uplink.interface)
        if below is None:
            return  # it is told of once all the rest is done
        if uplink.tag is not None:
            self._netlink.make_vlan(
                uplink.vlan, alternative=names.alternative(uplink.vlan, network.uuid), parent=uplink.interface,
                tag=uplink.tag, mtu=uplink.mtu, bridge=uplink.bridge,
            )  # fmt: skip
        elif uplink.bridged(links):
            self._netlink.make_cable(
                uplink.cable, alternative=names.alternative(uplink.cable, network.uuid), bridge=uplink.bridge,
                mtu=uplink.mtu, far=uplink.far,
            )  # fmt: skip
            self._netlink.enslave(uplink.far, uplink.interface)
        else:
            own = rtnetlink.addresses().get(below.index, frozenset())
            if used := sorted(one for one in own if not one.startswith("fe80:")):
                raise HostError(
                    ErrorCode.NETWORK,
                    f"interface {uplink.interface} carries this host's own addresses ({', '.join(used)})",
                    hint="Put it on a bridge of your own with these addresses, and name the bridge.",
                )
            self._netlink.enslave(uplink.interface, uplink.bridge)


def _take_no_advice(namespace: str) -> None:
    """The service leg has the addresses it is given and no others, whatever a router of the network announces."""
    with namespaces.inside(namespace):
        for setting in ("accept_ra", "autoconf"):
            for path in Path("/proc/sys/net/ipv6/conf").glob(f"*/{setting}"):
                path.write_text("0")


def _service(namespace: str) -> tuple[str, int, frozenset[str]] | None:
    """What `svc` of a namespace is like; None where there is none."""
    try:
        with namespaces.inside(namespace):
            link = rtnetlink.links().get(names.SERVICE)
            if link is None or not link.up:
                return None
            own = rtnetlink.addresses().get(link.index, frozenset())
    except OSError:
        return None
    return link.mac, link.mtu, frozenset(one for one in own if not one.startswith("fe80:"))


def _refuse_conflict(one: Wanted, links: Mapping[str, Link]) -> None:
    link = links.get(one.bridge.name)
    others = {name for name in link.alternatives if name.startswith("skb-")} - {one.bridge.alternative} if link else ()
    if others:
        raise HostError(
            ErrorCode.CONFLICT, f"{one.bridge.name} belongs to another network: {', '.join(sorted(others))}"
        )


def _stale(every: list[Wanted], seen: LinksSeen) -> tuple[list[str], list[str]]:
    """Links and namespaces of ours that no network takes. Tunnels and legs before the bridges they are ports of."""
    taken = {name for one in every for name in one.names(seen.links)}
    kept = _kept(every, seen)
    left = [
        name
        for name in seen.links
        if name.startswith(OWNED) and names.OURS.fullmatch(name) and name not in taken and name not in kept
    ]
    spaces = {one.leg.namespace for one in every if one.leg is not None}
    gone = sorted(name for name in seen.namespaces if name.startswith("skn-") and name not in spaces)
    return sorted(left, key=lambda name: (name.startswith("skb-"), name)), gone


def _kept(every: list[Wanted], seen: LinksSeen) -> dict[str, list[str]]:
    """Bridges nobody asks for that guests are still plugged in to: they go with a later document."""
    taken = {one.bridge.name for one in every}
    found = {}
    for name, link in seen.links.items():
        if name.startswith("skb-") and names.OURS.fullmatch(name) and name not in taken:
            taps = sorted(
                other.name
                for other in seen.links.values()
                if other.master == link.index and other.name.startswith(names.TAP_PREFIX)
            )
            if taps:
                found[name] = taps
    return found
