"""Following a packet: what each hop on a host is told to do with it, and what it really does."""

from __future__ import annotations

from enum import StrEnum

import attrs


class Verdict(StrEnum):
    PASS = "pass"
    DROP = "drop"
    MISSING = "missing"
    """What should be there is not."""
    UNKNOWN = "unknown"


@attrs.frozen(kw_only=True)
class Trace:
    """Ask one host for its part of a path, from one of its ports or to one."""

    port: str
    outgoing: bool
    """From the port towards the address; false: from the address to the port."""
    address: str
    """The other end."""
    protocol: str = "icmp"
    first: int | None = None
    """Destination port, or ICMP type."""


@attrs.frozen(kw_only=True)
class Hop:
    """One thing the packet passes."""

    kind: str
    """tap, bridge, firewall, neighbour, vxlan, router, route, nat, external, dhcp."""
    name: str
    """The object's name on the host."""
    verdict: Verdict
    configured: str = ""
    """What the document asks for."""
    seen: str = ""
    """What is there."""
    packets: int | None = None
    bytes: int | None = None
    hint: str = ""
    """The next act, where the hop is in the way."""


@attrs.frozen(kw_only=True)
class Traced:
    hops: tuple[Hop, ...]
