"""The firewall's hop: which rule decides on the packet, and how often it has."""

from __future__ import annotations

from hostd.network import firewall, names
from hostd.network.document import Document
from hostd.spec import Hop, PortSpec, Trace, Verdict


def wall_hop(document: Document, port: PortSpec, asked: Trace) -> Hop:
    """What the port's rules say, and whether the kernel has the rule that decides. Raises HostError(NETWORK)."""
    side = "from" if asked.outgoing else "to"
    name = f"{side} {names.tap(port.uuid)}"
    try:
        decision = firewall.decide(
            document, port, outgoing=asked.outgoing, address=asked.address, protocol=asked.protocol, first=asked.first
        )
    except ValueError as bad:
        return Hop(kind="firewall", name=name, verdict=Verdict.UNKNOWN, seen=str(bad))
    rule = f"rule {decision.rule} of group {decision.group}" if decision.group else decision.rule or decision.chain
    there = firewall.in_place(decision)
    counted = firewall.counted(decision) if there else None
    verdict = Verdict.MISSING if not there else Verdict.PASS if decision.allowed else Verdict.DROP
    hint = ""
    if not there:
        hint = "skydeck host repair HOST --networking"
    elif not decision.allowed:
        hint = _hint(port, asked)
    return Hop(
        kind="firewall",
        name=name,
        verdict=verdict,
        configured=f"{'allowed' if decision.allowed else 'dropped'} by {rule}",
        seen="in place" if there else "the rule is not in the kernel",
        packets=None if counted is None else counted[0],
        bytes=None if counted is None else counted[1],
        hint=hint,
    )


def _hint(port: PortSpec, asked: Trace) -> str:
    if not port.enabled:
        return f"skydeck port set --enable {port.uuid}"
    direction = "--egress" if asked.outgoing else "--ingress"
    wanted = (
        f" --dst-port {asked.first}" if asked.first is not None and asked.protocol not in ("icmp", "icmpv6") else ""
    )
    version = " --ethertype IPv6" if ":" in asked.address else ""
    length = 128 if ":" in asked.address else 32
    return (
        f"skydeck security group rule create {direction}{version} --protocol {asked.protocol}{wanted} "
        f"--remote-ip {asked.address}/{length} GROUP"
    )
