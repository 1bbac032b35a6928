"""Who sees a network, and who may plug into it: its owner, and whom its RBAC policies name.

`shared` and `external` of a network go with policies that name everybody (`*`), as in neutron: the policies alone
decide, so that an external network can be some projects' only.
"""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col

from core.context import Context
from core.errors import Conflict, Forbidden, NotFound
from core.identity.policy import authorize
from core.identity.projects import Project
from core.network import finding
from core.network.tables import FloatingIP, Network, Port, RbacPolicy, Router
from core.sql import select
from core.store import clock_of, now

SHARED = "access_as_shared"
"""Ports may be plugged into it."""
EXTERNAL = "access_as_external"
"""Routers may have their gateway on it, and floating IPs come from it."""
EVERYONE = "*"


def reachable(project_id: str, *actions: str) -> Any:
    """A WHERE: networks of this project, or that policies (of these actions; any, when none is named) give it."""
    given = select(RbacPolicy.object_id).where(col(RbacPolicy.target_project).in_((project_id, EVERYONE)))
    if actions:
        given = given.where(col(RbacPolicy.action).in_(actions))
    return (col(Network.project_id) == project_id) | col(Network.id).in_(given)


def visible(ctx: Context) -> Any:
    """A WHERE: the networks the caller may know of. An admin knows all."""
    return True if ctx.is_admin else reachable(ctx.project_id)


def find(session: Session, ctx: Context, id_or_name: str) -> Network:
    """By id, or a name unique among those its project may use; its own win. Raises NotFound, Invalid."""
    authorize(ctx, "network:list")
    return finding.find(
        session, ctx, Network, id_or_name, noun="network", named=reachable(ctx.project_id), seen=visible(ctx)
    )


def owned(session: Session, ctx: Context, id_or_name: str) -> Network:
    """`find`, for who changes it: its project's, or an admin. Raises NotFound for others."""
    network = find(session, ctx, id_or_name)
    if network.project_id != ctx.project_id and not ctx.is_admin:
        raise NotFound(f"no network {id_or_name!r} of yours", hint="It is shared with you: its owner changes it.")
    return network


def check_usable(session: Session, ctx: Context, network: Network) -> None:
    """Raise Forbidden unless the caller may plug ports into this network, which it sees."""
    if ctx.is_admin:
        return
    mine = select(Network.id).where(col(Network.id) == network.id, reachable(ctx.project_id, SHARED))
    if session.execute(mine).first() is None:
        raise Forbidden(
            f"network {network.name} is for routers and floating IPs, not for ports",
            hint="Use a network of your own behind a router, and a floating IP.",
        )


def grant(session: Session, network: Network, action: str, target: str) -> RbacPolicy:
    """A policy that lets a project (or `*`) use the network. Raises Conflict when there is one."""
    if policy(session, network, action, target) is not None:
        raise Conflict(f"network {network.name} is shared so already", hint="skydeck network rbac list shows it.")
    row = RbacPolicy(
        id=clock_of(session).uuid(),
        project_id=network.project_id,
        object_id=network.id,
        action=action,
        target_project=target,
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    return row


def policy(session: Session, network: Network, action: str, target: str) -> RbacPolicy | None:
    query = select(RbacPolicy).where(
        col(RbacPolicy.object_id) == network.id,
        col(RbacPolicy.action) == action,
        col(RbacPolicy.target_project) == target,
    )
    return session.execute(query).scalar_one_or_none()


def policies(session: Session, network: Network, action: str) -> list[RbacPolicy]:
    query = select(RbacPolicy).where(col(RbacPolicy.object_id) == network.id, col(RbacPolicy.action) == action)
    return list(session.execute(query).scalars())


def withdraw(session: Session, row: RbacPolicy, network: Network) -> None:
    """Take a policy back. Raises Conflict while somebody uses the network by it alone."""
    users = _users(session, network, row.action)
    if row.target_project != EVERYONE:
        users &= {row.target_project}
    others = select(RbacPolicy.target_project).where(
        col(RbacPolicy.object_id) == network.id, col(RbacPolicy.action) == row.action, col(RbacPolicy.id) != row.id
    )
    still = frozenset(session.execute(others).scalars())
    if EVERYONE not in still and (held := users - still):
        names = session.execute(select(Project.name).where(col(Project.id).in_(held)).order_by(col(Project.name)))
        what = "ports" if row.action == SHARED else "routers or floating IPs"
        raise Conflict(
            f"network {network.name} is in use by {', '.join(names.scalars()) or 'projects that are gone'}",
            hint=f"Their {what} on it go first.",
        )
    session.delete(row)
    session.flush()


def _users(session: Session, network: Network, action: str) -> frozenset[str]:
    """Projects that have something on the network which the action allows; its owner needs no allowance."""
    if action == SHARED:
        # Ports of the cloud's own services belong to whom they serve, and need nobody's leave.
        queries = [
            select(Port.project_id).where(
                col(Port.network_id) == network.id, ~col(Port.device_owner).startswith("network:")
            )
        ]
    else:
        queries = [
            select(Router.project_id).where(col(Router.external_network_id) == network.id),
            select(FloatingIP.project_id).where(col(FloatingIP.network_id) == network.id),
        ]
    found = {project for query in queries for project in session.execute(query.distinct()).scalars()}
    return frozenset(found - {network.project_id})
