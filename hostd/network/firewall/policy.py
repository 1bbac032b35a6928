"""What a document allows, without a kernel: for a person who asks why, and for flows that were let in before.

The rules are judged as nft judges them (`groups.conditions`); a test holds the two together.
"""

from __future__ import annotations

import ipaddress
from typing import Final

import attrs

from hostd.network import nft
from hostd.network.document import Address, Block, Document
from hostd.network.firewall import protocols
from hostd.network.firewall.groups import ALL_PORTS, INGRESS, group_chain, list_chain, port_range
from hostd.network.firewall.rules import BRIDGE
from hostd.spec import Direction, PortSpec, RuleSpec

_DHCP: Final = {Direction.EGRESS: (67, 547), Direction.INGRESS: (68, 546)}
"""Destination ports that pass whatever the groups say."""
_DISCOVERY: Final = {Direction.EGRESS: (131, 132, 133, 135, 136, 143), Direction.INGRESS: (130, 134, 135, 136)}
"""ICMPv6 types that pass whatever the groups say."""


@attrs.frozen(kw_only=True)
class Decision:
    """What the firewall says to the first packet of a connection."""

    allowed: bool
    chain: str
    """Of table `bridge skydeck`: where it is decided."""
    rule: str
    """Comment of the deciding rule there: the uuid of the security group rule, or words; empty: a rule without."""
    group: str = ""
    """The security group whose rule it is."""


@attrs.frozen(kw_only=True)
class _Clause:
    """One security group rule, ready to be asked often."""

    rule: str
    group: str
    version: int
    protocol: int | None
    ports: tuple[int, int] | None
    type: int | None
    code: int | None
    block: Block | None
    members: frozenset[Address] | None

    def matches(self, address: Address, protocol: int, first: int | None, code: int | None) -> bool:
        if address.version != self.version or self.protocol not in (None, protocol):
            return False
        if self.ports not in (None, ALL_PORTS) and not _within(first, self.ports):
            return False
        if self.type not in (None, first) or self.code not in (None, code):
            return False
        if self.members is not None:
            return address in self.members
        return self.block is None or address in self.block


def _within(port: int | None, ports: tuple[int, int] | None) -> bool:
    return ports is not None and port is not None and ports[0] <= port <= ports[1]


class Policy:
    """A document's security groups, asked about packets. For one document: it keeps what it worked out."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._clauses: dict[str, tuple[_Clause, ...]] = {}

    def decide(
        self,
        port: PortSpec,
        direction: Direction,
        address: Address,
        *,
        protocol: int,
        first: int | None,
        code: int | None,
    ) -> Decision:
        """What happens to a connection's first packet at this port; `address` is its other end.

        `protocol` is a number; `first` the destination port or the ICMP type, `code` the ICMP code.
        """
        if not port.enabled:
            if direction is Direction.INGRESS:
                return Decision(allowed=False, chain="forward", rule="port disabled or unknown")
            return Decision(allowed=False, chain="spoof", rule="spoofed MAC")
        if not port.security:
            return Decision(allowed=True, chain=INGRESS, rule="")
        if protocol == protocols.UDP and first in _DHCP[direction]:
            return Decision(allowed=True, chain="forward", rule="")
        if protocol == protocols.ICMP6 and first in _DISCOVERY[direction]:
            return Decision(allowed=True, chain="forward", rule="")
        chain = list_chain(port, direction)
        if chain not in self._clauses:
            self._clauses[chain] = self._compiled(port, direction)
        for clause in self._clauses[chain]:
            if clause.matches(address, protocol, first, code):
                own = group_chain(clause.group, direction)
                return Decision(allowed=True, chain=own, rule=clause.rule, group=clause.group)
        return Decision(allowed=False, chain=chain, rule=f"no {direction.value} rule")

    def _compiled(self, port: PortSpec, direction: Direction) -> tuple[_Clause, ...]:
        groups = [self._document.groups[group] for group in sorted(set(port.groups))]
        return tuple(
            self._clause(group.uuid, rule) for group in groups for rule in group.rules if rule.direction is direction
        )

    def _clause(self, group: str, rule: RuleSpec) -> _Clause:
        protocol = protocols.number(rule.protocol, rule.version)
        icmp = protocol in (protocols.ICMP, protocols.ICMP6)
        members = None
        if rule.group is not None:
            members = frozenset(ipaddress.ip_address(member) for member in self._document.groups[rule.group].members)
        block = None if rule.cidr is None else ipaddress.ip_network(rule.cidr, strict=False)
        return _Clause(
            rule=rule.uuid,
            group=group,
            version=rule.version,
            protocol=protocol,
            ports=port_range(rule) if protocol in protocols.WITH_PORTS else None,
            type=rule.first if icmp else None,
            code=rule.last if icmp else None,
            block=block,
            members=members,
        )


def decide(
    document: Document,
    port: PortSpec,
    *,
    outgoing: bool,
    address: str,
    protocol: str = "icmp",
    first: int | None = None,
) -> Decision:
    """What the document makes of a connection's first packet from the port to the address, or from it to the port.

    `protocol` is a name or number; `first` the destination port or the ICMP type (None: an echo request).
    Raises ValueError for an address or a protocol that is none.
    """
    other = ipaddress.ip_address(address)
    number = protocols.number(protocol, other.version)
    if number is None:
        raise ValueError(f"no IP protocol: {protocol!r}")
    code = None
    if number in (protocols.ICMP, protocols.ICMP6):
        code = 0
        if first is None:
            first = 8 if number == protocols.ICMP else 128
    direction = Direction.EGRESS if outgoing else Direction.INGRESS
    return Policy(document).decide(port, direction, other, protocol=number, first=first, code=code)


def counted(decision: Decision) -> tuple[int, int] | None:
    """Packets and bytes of the deciding rule, read now; None where it is missing or does not count.

    The drop at the end of a list counts for all ports of this list. Blocks. Raises HostError(NETWORK).
    """
    for item in nft.list_chain(*BRIDGE, decision.chain) or ():
        rule = item.get("rule", {})
        if decision.rule and rule.get("comment") == decision.rule:
            for expression in rule["expr"]:
                if isinstance(expression, dict) and "counter" in expression:
                    return expression["counter"]["packets"], expression["counter"]["bytes"]
    return None


def in_place(decision: Decision) -> bool:
    """Whether the rule that shall decide is in the kernel. Blocks. Raises HostError(NETWORK)."""
    items = nft.list_chain(*BRIDGE, decision.chain)
    if items is None:
        return False
    return not decision.rule or any(item.get("rule", {}).get("comment") == decision.rule for item in items)
