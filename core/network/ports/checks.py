"""What people may ask of a port, turned into what a row holds. Raises Invalid throughout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from core.errors import Invalid
from core.network import addresses

MOST_PAIRS: Final = 10
"""neutron's max_allowed_address_pair."""
MOST_KBIT: Final = 2**31 - 1

_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def mac(text: str) -> str:
    """A hardware address that one guest can have, in lower case with colons."""
    plain = text.lower().replace("-", ":")
    if not _MAC.fullmatch(plain):
        raise Invalid(f"{text!r} is not a MAC address", hint="For example fa:16:3e:01:02:03.")
    if int(plain[:2], 16) & 1:
        raise Invalid(f"MAC {plain} is a group's, not one guest's", hint="Its first byte must be even.")
    if plain == "00:00:00:00:00:00":
        raise Invalid("a MAC address cannot be all zeros")
    return plain


def pairs(asked: Sequence[tuple[str, str | None]]) -> list[dict[str, str]]:
    """Allowed address pairs: an address or a block, and a MAC where it is not the port's own."""
    if len(asked) > MOST_PAIRS:
        raise Invalid(f"{len(asked)} allowed address pairs are too many", hint=f"At most {MOST_PAIRS}.")
    found: list[dict[str, str]] = []
    for text, hardware in asked:
        block = addresses.block(text, "address or block", strict=False)
        plain = str(block.network_address) if block.prefixlen == block.max_prefixlen else str(block)
        pair = {"ip_address": plain} if hardware is None else {"ip_address": plain, "mac_address": mac(hardware)}
        if pair in found:
            raise Invalid(f"the allowed address pair {text} is given twice")
        found.append(pair)
    return found


def kbit(value: int | None, way: str) -> int | None:
    """A bandwidth limit; 0 takes it away."""
    if value is not None and not 0 <= value <= MOST_KBIT:
        raise Invalid(f"a limit of {value} kbit/s {way} is none", hint=f"1 to {MOST_KBIT}; 0 for no limit.")
    return value or None


def dns_name(text: str) -> str:
    """A DNS label in lower case, or nothing."""
    plain = text.lower()
    if plain and not _LABEL.fullmatch(plain):
        raise Invalid(f"{text!r} is not a host name", hint="Letters, digits and hyphens, at most 63.")
    return plain
