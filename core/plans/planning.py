"""The plans there are, by name: one explicit map from an act to the function that lays it out. Reads only."""

from __future__ import annotations

from collections.abc import Callable

from sqlmodel import Session

from core.context import Context
from core.errors import Invalid
from core.plans import hosts, networks, projects
from core.plans.model import Plan

PLANS: dict[str, Callable[[Session, Context, str], Plan]] = {
    "project.delete": projects.delete,
    "network.delete": networks.delete,
    "host.maintain": hosts.maintain,
    "host.resume": hosts.resume,
}
"""Act to (read session, context, id or name) to its plan. Each raises NotFound, Forbidden."""


def plan(session: Session, ctx: Context, name: str, id_or_name: str) -> Plan:
    """Lay it out as of now. Raises Invalid for a plan that does not exist, NotFound, Forbidden."""
    if name not in PLANS:
        raise Invalid(f"there is no plan {name!r}", hint=f"Known: {', '.join(PLANS)}.")
    return PLANS[name](session, ctx, id_or_name)
