"""Routers: what joins a project's networks to each other and to the world. Realised on every host that needs one.

`verbs` makes and changes them, `interfaces` joins networks to them, `gateway` gives them a way out.
"""

from core.network.routers.access import find
from core.network.routers.gateway import set_gateway, unset_gateway
from core.network.routers.interfaces import add_port, add_subnet, remove_port, remove_subnet
from core.network.routers.verbs import create, delete, set

__all__ = (
    "add_port",
    "add_subnet",
    "create",
    "delete",
    "find",
    "remove_port",
    "remove_subnet",
    "set",
    "set_gateway",
    "unset_gateway",
)
