"""Sharing a network with some projects (neutron's network RBAC): as one to plug into, or as a way out."""

from __future__ import annotations

from sqlmodel import Session, col

from core.audit import record
from core.context import Context
from core.errors import Invalid, NotFound
from core.identity import quotas
from core.identity.policy import authorize
from core.identity.projects import Project
from core.network import fabric, networks, usage  # noqa: F401 - usage tells the quotas how policies are counted
from core.network.networks import access
from core.network.networks.access import EVERYONE, EXTERNAL, SHARED
from core.network.tables import Network, RbacPolicy
from core.sql import select

__all__ = ("EVERYONE", "EXTERNAL", "SHARED", "create", "delete", "find")


def find(session: Session, ctx: Context, id: str) -> RbacPolicy:
    """A policy of the caller's project, or (admin) any. Raises NotFound."""
    authorize(ctx, "network:list")
    row = session.get(RbacPolicy, id)
    if row is None or not (ctx.is_admin or row.project_id == ctx.project_id):
        raise NotFound(f"no RBAC policy {id!r}", hint="skydeck network rbac list shows them.")
    return row


def create(session: Session, ctx: Context, *, network: str, action: str, target_project: str) -> RbacPolicy:
    """Let a project (by id; an admin also by name; `*`: everybody, admin only) use a network.

    Raises Forbidden, NotFound, Invalid, QuotaExceeded, Conflict for what is shared so already.
    """
    authorize(ctx, "network:rbac")
    if action not in (SHARED, EXTERNAL):
        raise Invalid(f"{action!r} is not an action", hint=f"{SHARED} or {EXTERNAL}.")
    if action == EXTERNAL:
        authorize(ctx, "network:external")
    if target_project == EVERYONE:
        authorize(ctx, "network:share_all")
    owner = networks.owned(session, ctx, network)
    target = EVERYONE if target_project == EVERYONE else _project(session, ctx, target_project)
    quotas.check(session, ctx, rbac_policies=1)
    row = access.grant(session, owner, action, target)
    if action == EXTERNAL and not owner.external:
        owner.external = True
        session.flush()
        fabric.touch(session, networks=[owner.id])
    elif action == SHARED and target == EVERYONE:
        owner.shared = True
    session.flush()
    after = {"object_id": owner.id, "action": action, "target_project": target}
    record(session, ctx, row, kind="rbac_policy", action="create", after=after)
    return row


def delete(session: Session, ctx: Context, id: str) -> None:
    """Withdraw it. Raises Conflict while the project it names uses the network by it alone."""
    authorize(ctx, "network:rbac")
    row = find(session, ctx, id)
    network = session.get(Network, row.object_id)
    assert network is not None  # a foreign key holds it
    access.withdraw(session, row, network)
    if row.action == SHARED and row.target_project == EVERYONE:
        network.shared = False
        session.flush()
    before = {"object_id": network.id, "action": row.action, "target_project": row.target_project}
    record(session, ctx, row, kind="rbac_policy", action="delete", before=before)


def _project(session: Session, ctx: Context, id_or_name: str) -> str:
    """Its id. Names are told to admins alone: which projects exist is nobody else's business."""
    wanted = col(Project.id) == id_or_name
    if ctx.is_admin:
        wanted |= col(Project.name) == id_or_name
    found = session.execute(select(Project.id).where(wanted)).scalars().first()
    if found is None:
        raise NotFound(f"no project {id_or_name!r}", hint="Its id has 32 hexadecimal digits.")
    return str(found)
