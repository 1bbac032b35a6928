"""What our network objects are called, so that everything of one network is found by its uuid alone.

Interface names hold 15 characters: `skX-` and the first 11 hex digits of the uuid. The whole uuid
stands in an alternative name, and the group marks a link as ours even where a name was changed.
"""

from __future__ import annotations

import hashlib
import re
import uuid as uuids
from typing import Final

GROUP: Final = 0x5D
"""Link group of every interface hostd makes."""

TAP_PREFIX: Final = "skt-"
SERVICE: Final = "svc"
"""The service leg's end inside the network's namespace."""

OURS: Final = re.compile(r"sk[a-z]-[0-9a-f]{11}")
"""Names of links and namespaces that hostd makes, or has libvirt make."""


def short(uuid: str) -> str:
    """The first 11 hex digits of a uuid. Raises ValueError when it is none: names become paths."""
    return uuids.UUID(uuid).hex[:11]


def bridge(network: str) -> str:
    return f"skb-{short(network)}"


def leg(network: str) -> str:
    """The bridge's side of the service leg."""
    return f"skd-{short(network)}"


def namespace(network: str) -> str:
    return f"skn-{short(network)}"


def tap(port: str) -> str:
    """The host's side of a guest's interface."""
    return f"{TAP_PREFIX}{short(port)}"


def alternative(name: str, network: str) -> str:
    """`skb-<whole uuid>`: tells two networks apart whose first 11 digits are the same."""
    return f"{name[:4]}{uuids.UUID(network)}"


def mac(role: str, network: str) -> str:
    """A locally administered address that is the same on every host, so that a moved guest's caches stay right."""
    tail = hashlib.sha256(f"{role}/{uuids.UUID(network)}".encode()).digest()[:4]
    return ":".join(f"{byte:02x}" for byte in b"\x02\x5d" + tail)
