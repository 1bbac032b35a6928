"""IP protocols by the names that neutron's API knows (neutron-lib, constants.IP_PROTOCOL_MAP)."""

from __future__ import annotations

from typing import Final

TCP, UDP, DCCP, SCTP, UDPLITE = 6, 17, 33, 132, 136
ICMP, ICMP6 = 1, 58

_NUMBERS: Final = {
    "ah": 51, "dccp": DCCP, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": ICMP, "icmpv6": ICMP6,
    "igmp": 2, "ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": ICMP6, "ipv6-nonxt": 59,
    "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": SCTP, "tcp": TCP, "udp": UDP,
    "udplite": UDPLITE, "vrrp": 112,
}  # fmt: skip

WITH_PORTS: Final = {TCP: "tcp", UDP: "udp", DCCP: "dccp", SCTP: "sctp", UDPLITE: "udplite"}
"""Those that have ports, by nft's names."""


def number(protocol: str | None, version: int) -> int | None:
    """The protocol's number in a rule of this IP version; None for any.

    ICMP in an IPv6 rule is ICMPv6, as in neutron. Raises ValueError for a name that is none.
    """
    if protocol is None or protocol.lower() == "any":
        return None
    if protocol.isascii() and protocol.isdigit():
        found = int(protocol)
    elif protocol.lower() in _NUMBERS:
        found = _NUMBERS[protocol.lower()]
    else:
        raise ValueError(f"no IP protocol: {protocol!r}")
    if not 0 <= found <= 255:
        raise ValueError(f"no IP protocol: {protocol!r}")
    return ICMP6 if found == ICMP and version == 6 else found
