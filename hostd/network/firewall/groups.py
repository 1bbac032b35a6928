"""Security groups as nft chains: what comes in to a guest and goes out of it.

A group is two chains, shared by all ports that have it; each distinct list of groups is two more, that try the groups
one after another and drop the rest. So a changed rule changes one chain, whatever the number of ports.
"""

from __future__ import annotations

import hashlib
import ipaddress
import uuid as uuids
from collections.abc import Iterable, Iterator
from typing import Final

from hostd.network import names
from hostd.network.document import Document
from hostd.network.firewall import expressions as nf
from hostd.network.firewall import protocols
from hostd.network.firewall.tables import Chain, Collection, Rule
from hostd.network.nft import Json
from hostd.spec import Direction, PortSpec, RuleSpec

INGRESS: Final = "ingress"
"""The chain that asks whether a frame may go into the port it is on its way to. What may leave its own port goes on
there, and comes back to nobody."""

ALL_PORTS: Final = (0, 65535)

_SHORT: Final = {Direction.INGRESS: "in", Direction.EGRESS: "out"}


def list_chain(port: PortSpec, direction: Direction) -> str:
    """The chain of the port's list of groups."""
    named = hashlib.sha256(" ".join(sorted(set(port.groups))).encode()).hexdigest()[:16]
    return f"list_{_SHORT[direction]}_{named}"


def group_chain(group: str, direction: Direction) -> str:
    """The chain with a group's own rules."""
    return f"group_{_SHORT[direction]}_{uuids.UUID(group).hex}"


def members(group: str, version: int) -> str:
    """The set of a group's members' addresses."""
    return f"members{version}_{uuids.UUID(group).hex}"


def filtered(document: Document) -> tuple[PortSpec, ...]:
    """The ports that security groups decide on."""
    return tuple(port for port in document.spec.ports if port.enabled and port.security)


def chains(document: Document) -> dict[str, Chain]:
    """Chains of the groups and of the lists of groups that ports here have."""
    ports = filtered(document)
    made: dict[str, Chain] = {}
    for group in dict.fromkeys(group for port in ports for group in port.groups):
        for direction in Direction:
            rules = (rule for rule in document.groups[group].rules if rule.direction is direction)
            made[group_chain(group, direction)] = Chain(rules=tuple(_rules(rules)))
    for port in ports:
        for direction in Direction:
            name = list_chain(port, direction)
            if name not in made:
                tried = [nf.rule(nf.jump(group_chain(group, direction))) for group in sorted(set(port.groups))]
                rest = nf.dropping(comment=f"no {direction.value} rule")
                made[name] = Chain(rules=(*tried, rest))
    return made


def collections(document: Document) -> dict[str, Collection]:
    """The maps from a tap to its chains, and the sets of members that rules ask for."""
    open_ports = [port for port in document.spec.ports if port.enabled and not port.security]
    towards: list[object] = [[names.tap(port.uuid), nf.ACCEPT] for port in open_ports]
    leaving: list[object] = [[names.tap(port.uuid), nf.goto(INGRESS)] for port in open_ports]
    used: set[str] = set()
    for port in filtered(document):
        tap = names.tap(port.uuid)
        towards.append([tap, nf.goto(list_chain(port, Direction.INGRESS))])
        leaving.append([tap, nf.goto(list_chain(port, Direction.EGRESS))])
        used.update(port.groups)
    made = {
        "ingress_of": Collection(key="ifname", value="verdict", elements=tuple(towards)),
        "egress_of": Collection(key="ifname", value="verdict", elements=tuple(leaving)),
    }
    asked = {rule.group for group in used for rule in document.groups[group].rules if rule.group is not None}
    for group in sorted(asked):
        everybody = sorted({ipaddress.ip_address(member) for member in document.groups[group].members}, key=_order)
        for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
            elements = tuple(str(member) for member in everybody if member.version == version)
            made[members(group, version)] = Collection(key=kind, elements=elements)
    return made


def _order(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[int, int]:
    return address.version, int(address)


def _rules(rules: Iterable[RuleSpec]) -> Iterator[Rule]:
    for spec in rules:
        matched = conditions(spec)
        verdict = nf.ACCEPT if spec.direction is Direction.INGRESS else nf.goto(INGRESS)
        yield nf.rule(*matched, nf.COUNTER, verdict, comment=str(uuids.UUID(spec.uuid)))


def conditions(spec: RuleSpec) -> list[Json]:
    """What a frame must be for the rule to allow it. Raises ValueError for a rule that makes no sense."""
    family = "ip" if spec.version == 4 else "ip6"
    made = [nf.match(nf.meta("protocol"), family)]
    other = nf.payload(family, "saddr" if spec.direction is Direction.INGRESS else "daddr")
    if spec.group is not None:
        made.append(nf.match(other, f"@{members(spec.group, spec.version)}"))
    elif spec.cidr is not None:
        block = ipaddress.ip_network(spec.cidr, strict=False)
        if block.prefixlen == block.max_prefixlen:
            made.append(nf.match(other, str(block.network_address)))
        elif block.prefixlen > 0:
            made.append(nf.match(other, {"prefix": {"addr": str(block.network_address), "len": block.prefixlen}}))
    protocol = protocols.number(spec.protocol, spec.version)
    if protocol is None:
        return made
    made.append(nf.match(nf.meta("l4proto"), protocol))
    if protocol in protocols.WITH_PORTS:
        first, last = port_range(spec)
        if first == last:
            made.append(nf.match(nf.payload(protocols.WITH_PORTS[protocol], "dport"), first))
        elif (first, last) != ALL_PORTS:
            ports = {"range": [first, last]}
            made.append(nf.match(nf.payload(protocols.WITH_PORTS[protocol], "dport"), ports))
    elif protocol in (protocols.ICMP, protocols.ICMP6):
        name = "icmp" if protocol == protocols.ICMP else "icmpv6"
        for field, value in (("type", spec.first), ("code", spec.last)):
            if value is not None:
                made.append(nf.match(nf.payload(name, field), value))
    return made


def port_range(spec: RuleSpec) -> tuple[int, int]:
    """First and last destination port of a rule; all, where it names none."""
    if spec.first is None and spec.last is None:
        return ALL_PORTS
    first = spec.last if spec.first is None else spec.first
    last = spec.first if spec.last is None else spec.last
    assert first is not None
    assert last is not None
    if first > last:
        raise ValueError(f"rule {spec.uuid}: ports {first} to {last}")
    return first, last
