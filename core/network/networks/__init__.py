"""Networks: layer-2 segments of a project's own, provider networks of the operator's, and who may use which."""

from core.network.networks.access import check_usable, find, owned, reachable, visible
from core.network.networks.default import default_for
from core.network.networks.verbs import create, delete, set

__all__ = (
    "check_usable",
    "create",
    "default_for",
    "delete",
    "find",
    "owned",
    "reachable",
    "set",
    "visible",
)
