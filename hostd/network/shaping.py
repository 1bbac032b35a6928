"""The part `shaping`: how much may go to a guest and come from it.

Towards the guest a token bucket on its tap; from it one on an interface that its frames are led over, as the kernel
queues only what leaves. Taps are made by libvirt, later than the document: the driver applies it when one appears.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

import attrs

from hostd.drivers import Step
from hostd.network import names
from hostd.network.document import Document
from hostd.network.netlink import Link, Netlink
from hostd.network.part import World
from hostd.spec import PortSpec

MARK: Final = "skq-"
"""Begins the mark of a tap: the limits it was given."""


@attrs.frozen(kw_only=True)
class ShapingSeen:
    links: Mapping[str, Link]


class Shaping:
    """See hostd.network.part.Part."""

    name: Final = "shaping"
    steps: Final = ("shaping",)
    removals: Final = ("shaping_remove",)

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self._lock = threading.Lock()

    def seen(self, document: Document, world: World, *, deep: bool) -> ShapingSeen:
        return ShapingSeen(links=world.links)

    def plan(self, document: Document, seen: ShapingSeen) -> tuple[Step, ...]:
        """`shaping` with the ports whose taps have other limits; `shaping_remove` with shapers of no port."""
        wrong = [port.uuid for port in _ports(document) if self._why(port, seen)]
        mine = {names.shaper(port.uuid) for port in _ports(document) if port.egress_kbit is not None}
        stale = sorted(
            name for name in seen.links if name.startswith("ski-") and names.OURS.fullmatch(name) and name not in mine
        )
        lifting = {names.shaper(uuid) for uuid in wrong}
        stale = [name for name in stale if name not in lifting]
        steps = (("shaping", {"ports": wrong}), ("shaping_remove", {"links": stale}))
        return tuple(Step(name, args) for name, args in steps if any(args.values()))

    def execute(self, step: Step, document: Document) -> None:
        if step.name == "shaping_remove":
            for name in step.args["links"]:
                self._netlink.delete(name)
            return
        with self._lock:
            for uuid in step.args["ports"]:
                self._shape(document.ports[uuid])

    def faults(self, document: Document, seen: ShapingSeen) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for port in _ports(document):
            if self._why(port, seen):
                found[port.network] = f"port {port.uuid} has not the bandwidth limits it should have"
        return found

    def _why(self, port: PortSpec, seen: ShapingSeen) -> bool:
        tap = seen.links.get(names.tap(port.uuid))
        if tap is None:
            return False  # not there yet; it is shaped when it comes
        marks = {one for one in tap.alternatives if one.startswith(MARK)}
        mark = _mark(port)
        return marks != (set() if mark is None else {mark})

    def _shape(self, port: PortSpec) -> None:
        tap = names.tap(port.uuid)
        self._netlink.shape(tap, kbit=port.ingress_kbit)
        self._netlink.divert(tap, names.shaper(port.uuid), kbit=port.egress_kbit)
        self._netlink.mark(tap, prefix=MARK, mark=_mark(port))


def _ports(document: Document) -> tuple[PortSpec, ...]:
    return document.spec.ports if document.present else ()


def _mark(port: PortSpec) -> str | None:
    if port.ingress_kbit is None and port.egress_kbit is None:
        return None
    return f"{MARK}{names.short(port.uuid)}-{port.ingress_kbit or 0}-{port.egress_kbit or 0}"
