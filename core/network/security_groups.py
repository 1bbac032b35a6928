"""Security groups: what may pass a port, as neutron has them. Stateful, additive, and nothing by default."""

from __future__ import annotations

DEFAULT = "default"
"""The group every project has, from its first use on; it cannot be renamed."""
