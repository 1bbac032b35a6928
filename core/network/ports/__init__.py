"""Ports: where a guest, or a service, is plugged into a network; and the fixed IPs each holds.

`verbs` is what people ask for; `plugging` is what launches, attaches and routers do with ports they make or take.
UNIQUE(network, ip) and UNIQUE(mac) are the database's, so two creates at once cannot hand out one address twice.
"""

from core.network.ports.plugging import (
    addresses,
    bind,
    create,
    disassociate,
    give_back,
    groups_of,
    of_device,
    plug,
    release,
    remove,
    take,
)
from core.network.ports.verbs import add, delete, find, set

__all__ = (
    "add",
    "addresses",
    "bind",
    "create",
    "delete",
    "disassociate",
    "find",
    "give_back",
    "groups_of",
    "of_device",
    "plug",
    "release",
    "remove",
    "set",
    "take",
)
