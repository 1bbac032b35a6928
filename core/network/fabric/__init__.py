"""The fabric: how what projects want of their networks reaches the hosts.

Each host has one networking document. A verb that changes what some host shall do `touch`es those hosts in its
own transaction: their generation grows, and the engine sends them the document as it is then. What waits for it
(a port to become ACTIVE) is noted per host, so that a dead host delays nobody and can be shown.
"""

from core.network.fabric.document import document, vtep
from core.network.fabric.gateways import needed as gateways_needed
from core.network.fabric.publishing import Publisher, renew
from core.network.fabric.reach import behind, hosts_reaching, joined
from core.network.fabric.settling import Waiting, host_gone, pending, pending_on, settle, unplugged
from core.network.fabric.table import HostNetworking, NetworkingPending
from core.network.fabric.touching import forget, grow, touch, touch_host

__all__ = (
    "HostNetworking",
    "NetworkingPending",
    "Publisher",
    "Waiting",
    "behind",
    "document",
    "forget",
    "gateways_needed",
    "grow",
    "host_gone",
    "hosts_reaching",
    "joined",
    "pending",
    "pending_on",
    "renew",
    "settle",
    "touch",
    "touch_host",
    "unplugged",
    "vtep",
)
