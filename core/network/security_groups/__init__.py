"""Security groups: what may pass a port, as neutron has them. Stateful, additive, and nothing by default."""

from core.network.security_groups.groups import DEFAULT, create, default_group, delete, find, resolve, set
from core.network.security_groups.rules import add_rule, delete_rule, find_rule

__all__ = (
    "DEFAULT",
    "add_rule",
    "create",
    "default_group",
    "delete",
    "delete_rule",
    "find",
    "find_rule",
    "resolve",
    "set",
)
