"""Sharing a network with some projects (neutron's network RBAC)."""

from __future__ import annotations

SHARED = "access_as_shared"
EXTERNAL = "access_as_external"
EVERYONE = "*"
