"""Connections that were let in and are allowed no longer.

A tracked connection's packets pass as replies, whatever the rules now say. So when something was taken away, all
tracked connections of our zones are asked about anew, by the document, and those it denies are forgotten. It needs no
memory of what was allowed before, and comes out the same after a crash.

A port that comes asks the same: its address may have been another's. (Not a port that goes: it may go on elsewhere,
and connections with it, too.)
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hostd.network.conntrack import Flow
from hostd.network.document import Address, Block, Document
from hostd.network.firewall.policy import Policy
from hostd.network.firewall.tables import Table, gained, narrowed
from hostd.spec import Direction, PortSpec

_RECEIVING: Final = ("ingress_of", "ip4_ok", "ip6_ok", "net4_ok", "net6_ok")
"""What has an element more when a port, or an address of one, is new."""


def due(old: Sequence[Table], new: Sequence[Table]) -> bool:
    """Whether connections may be tracked that the new rules would not let in."""
    return narrowed(old, new) or any(gained(old, new, name) for name in _RECEIVING)


def revoked(document: Document, zones: Mapping[str, int], flows: Iterable[Flow]) -> list[Flow]:
    """Of these connections, those to forget: denied by a port at one of their ends, in a network that is gone, or with
    no port here at either end. (The last ones pass only through; nobody asks whether they are replies.)"""
    networks = {zone: network for network, zone in zones.items()}
    owners = {network: _Owners(document.ports_of[network]) for network in zones}
    policy = Policy(document)

    def kept(flow: Flow) -> bool:
        network = networks.get(flow.zone)
        if network is None:
            return False
        ends = [
            (port, direction, other)
            for own, other, direction in (
                (flow.source, flow.destination, Direction.EGRESS),
                (flow.destination, flow.source, Direction.INGRESS),
            )
            for port in owners[network].of(own)
        ]
        return bool(ends) and all(
            policy.decide(port, direction, other, protocol=flow.protocol, first=flow.first, code=flow.code).allowed
            for port, direction, other in ends
        )

    return [flow for flow in flows if not kept(flow)]


class _Owners:
    """Which ports of a network may be at an address: one by its own, more by allowed address pairs."""

    def __init__(self, ports: Iterable[PortSpec]) -> None:
        self._single: dict[Address, list[PortSpec]] = {}
        self._blocks: list[tuple[Block, PortSpec]] = []
        for port in ports:
            held = [ipaddress.ip_network(address.ip) for address in port.addresses]
            held += [ipaddress.ip_network(pair.cidr, strict=False) for pair in port.pairs]
            for block in dict.fromkeys(held):
                if block.prefixlen == block.max_prefixlen:
                    self._single.setdefault(block.network_address, []).append(port)
                else:
                    self._blocks.append((block, port))

    def of(self, address: Address) -> list[PortSpec]:
        return self._single.get(address, []) + [port for block, port in self._blocks if address in block]
