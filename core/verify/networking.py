"""Invariants of networking: addresses, what hosts were told, and what they hold of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from core.verify.facts import Facts, Violation, host_name
from hostd.spec import Observation

SETTLED: Final = 60_000_000
"""Microseconds after which a change has come to every living host."""


def addresses(facts: Facts) -> Iterator[Violation]:
    """3. (network, IP) and MAC are unique (the database holds that); each fixed IP belongs to an existing port, and
    to a subnet of its network."""
    for address in facts.addresses:
        where = f"network {address.network_id}"
        if address.port_network is None:
            yield Violation(invariant=3, title=f"address {address.ip} belongs to no port", evidence=where)
        elif {address.port_network, address.subnet_network} != {address.network_id}:
            yield Violation(
                invariant=3, title=f"address {address.ip} is on another network than its port", evidence=where
            )
        if ipaddress.ip_address(address.ip) not in ipaddress.ip_network(address.cidr):
            yield Violation(
                invariant=3, title=f"address {address.ip} is not in its subnet {address.cidr}", evidence=where
            )


def networking_as_wanted(facts: Facts) -> Iterator[Violation]:
    """11, of networking: living hosts have confirmed what the database wants of them, what floats leads somewhere, and
    no host holds an address that it does not need."""
    for host_id, row in facts.networking.items():
        host = facts.hosts.get(host_id)
        if host is None:
            yield Violation(invariant=11, title=f"networking is kept for host {host_id}, which is gone")
        elif host.state != "up":
            continue
        elif row.applied < row.generation:
            if facts.at - row.changed_at > SETTLED:
                why = row.error["title"] if row.error else f"generation {row.applied} < {row.generation}"
                yield Violation(invariant=11, title=f"host {host.name} has not confirmed its networking", evidence=why)
        elif row.digest != facts.told.get(host_id):
            yield Violation(invariant=11, title=f"host {host.name} was told another networking than it should have")
    for floating in facts.floating:
        if floating.port_id is None:
            if floating.status != "DOWN":
                yield Violation(invariant=11, title=f"floating IP {floating.address} is {floating.status} on no port")
        elif (floating.router_id, floating.network_id) not in facts.ways_out:
            yield Violation(invariant=11, title=f"floating IP {floating.address} is on a port that no router leads to")
    for host_id, network, needed in facts.gateways:
        row_of = facts.networking.get(host_id)
        if host_id not in facts.hosts or (not needed and row_of is not None and row_of.applied == row_of.generation):
            yield Violation(
                invariant=11,
                title=f"host {host_name(facts, host_id)} holds an address that it does not need",
                evidence=f"external network {network}",
            )


def is_told(facts: Facts, host_id: str, seen: Observation) -> bool:
    """Whether the host was looked at when it had already done all that the database wants of its networking."""
    row = facts.networking.get(host_id)
    return row is None or (seen.networking is not None and (seen.networking.generation or 0) >= row.generation)
