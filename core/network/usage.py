"""How much of the network's quotas a project uses: a count of rows, for each noun."""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy import func
from sqlmodel import col

from core.identity import quotas
from core.network.tables import FloatingIP, Network, Port, RbacPolicy, Router, SecurityGroup, SecurityGroupRule, Subnet
from core.sql import select

COUNTED: dict[str, Any] = {
    "networks": Network,
    "subnets": Subnet,
    "ports": Port,
    "routers": Router,
    "floating_ips": FloatingIP,
    "security_groups": SecurityGroup,
    "security_group_rules": SecurityGroupRule,
    "rbac_policies": RbacPolicy,
}
"""Quota to table: every row of a project counts, the services' ports too (as in neutron)."""


def _count(table: Any, project_id: str) -> Any:
    return select(func.count()).select_from(table).where(col(table.project_id) == project_id)


for resource, table in COUNTED.items():
    quotas.counts(resource)(functools.partial(_count, table))
