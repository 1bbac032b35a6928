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


def vxlan(network: str) -> str:
    """The network's tunnel, a port of its bridge."""
    return f"skv-{short(network)}"


def leg(network: str) -> str:
    """The bridge's side of the service leg."""
    return f"skd-{short(network)}"


def namespace(network: str) -> str:
    """Where the network's DHCP, DNS and metadata are."""
    return f"skn-{short(network)}"


def tap(port: str) -> str:
    """The host's side of a guest's interface."""
    return f"{TAP_PREFIX}{short(port)}"


def shaper(port: str) -> str:
    """The interface that what a guest sends is slowed down on."""
    return f"ski-{short(port)}"


def uplink(network: str) -> str:
    """The bridge's side of the cable to an operator's own bridge; on that bridge it is `uplink_far`."""
    return f"sku-{short(network)}"


def uplink_far(network: str) -> str:
    return f"skw-{short(network)}"


def vlan(network: str) -> str:
    """The VLAN device of a physical interface, a port of the network's bridge."""
    return f"skl-{short(network)}"


def router(uuid: str) -> str:
    """A router's namespace."""
    return f"skr-{short(uuid)}"


def router_leg(port: str) -> str:
    """The bridge's side of a router's interface, by the interface's port."""
    return f"skr-{short(port)}"


def router_inside(port: str) -> str:
    """The same cable's end in the router's namespace."""
    return f"qr-{short(port)}"


def router_external(router: str) -> str:
    """The external bridge's side of a router's cable for floating IPs; inside it is `qx`."""
    return f"skx-{short(router)}"


def gateway(network: str) -> str:
    """The namespace that a host's guests leave to an external network by."""
    return f"skg-{short(network)}"


def gateway_leg(network: str) -> str:
    """The external bridge's side of that namespace's cable; inside it is `ext`."""
    return f"ske-{short(network)}"


def alternative(name: str, network: str) -> str:
    """`skb-<whole uuid>`: tells two networks apart whose first 11 digits are the same."""
    return f"{name[:4]}{uuids.UUID(network)}"


def mac(role: str, network: str) -> str:
    """A locally administered address that is the same on every host, so that a moved guest's caches stay right."""
    return _mac(f"{role}/{uuids.UUID(network)}")


def router_mac(network: str, host: str) -> str:
    """What a host's routers ask from, of other hosts, on a network; every host can work it out."""
    return _mac(f"router/{uuids.UUID(network)}/{uuids.UUID(host)}")


def external_mac(router: str, host: str) -> str:
    """Of a router's floating IPs on one host."""
    return _mac(f"external/{uuids.UUID(router)}/{uuids.UUID(host)}")


def _mac(words: str) -> str:
    tail = hashlib.sha256(words.encode()).digest()[:4]
    return ":".join(f"{byte:02x}" for byte in b"\x02\x5d" + tail)
