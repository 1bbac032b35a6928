"""Projects: what owns everything, and what quotas limit. Domains stand behind them, one so far."""

from __future__ import annotations

from typing import Any

from sqlalchemy import UniqueConstraint, func
from sqlalchemy import delete as sql_delete
from sqlmodel import Field, Session, SQLModel, col

from core import events, names
from core.context import Context
from core.errors import Conflict, NotFound
from core.identity import quotas
from core.identity.policy import authorize
from core.network import usage  # noqa: F401 - tells the quotas how the nouns of networking are counted
from core.network.tables import Port, RbacPolicy, SecurityGroup, SecurityGroupRule
from core.sql import select
from core.store import clock_of
from core.volumes import usage as volumes_usage  # noqa: F401 - and those of volumes

DEFAULT_DOMAIN = "default"


class Domain(SQLModel, table=True):
    id: str = Field(primary_key=True)
    """`default` is a literal id, as in keystone."""
    name: str = Field(unique=True)


class Project(SQLModel, table=True):
    __table_args__ = (UniqueConstraint("domain_id", "name"),)

    id: str = Field(primary_key=True)
    """32 hex digits."""
    name: str
    domain_id: str = Field(default=DEFAULT_DOMAIN, foreign_key="domain.id")
    description: str = ""
    enabled: bool = True


def find(session: Session, ctx: Context, id_or_name: str) -> Project:
    """A project the caller may see. Raises NotFound."""
    row = (
        session.execute(select(Project).where((col(Project.id) == id_or_name) | (col(Project.name) == id_or_name)))
        .scalars()
        .first()
    )
    if row is None or not (ctx.is_admin or row.id == ctx.project_id):
        raise NotFound(f"no project {id_or_name!r}", hint="skydeck project list shows those you may see.")
    return row


def create(session: Session, ctx: Context, *, name: str, description: str = "") -> Project:
    """A new, empty project. Raises Conflict when the name is taken."""
    authorize(ctx, "project:create")
    names.check(name, "project")
    if session.execute(select(Project.id).where(col(Project.name) == name)).first():
        raise Conflict(f"project {name!r} exists", hint="Choose another name.")
    project = Project(id=clock_of(session).hex(), name=name, description=description)
    session.add(project)
    session.flush()
    events.record(session, ctx, "project.create", kind="project", id=project.id, name=name, after={"name": name})
    return project


def update(
    session: Session,
    ctx: Context,
    id_or_name: str,
    *,
    name: str | None = None,
    description: str | None = None,
    enabled: bool | None = None,
) -> Project:
    authorize(ctx, "project:set")
    project = find(session, ctx, id_or_name)
    changes: dict[str, Any] = {}
    if name is not None and name != project.name:
        names.check(name, "project")
        if session.execute(select(Project.id).where(col(Project.name) == name)).first():
            raise Conflict(f"project {name!r} exists", hint="Choose another name.")
        changes["name"] = name
    if description is not None:
        changes["description"] = description
    if enabled is not None:
        changes["enabled"] = enabled
    before = {key: getattr(project, key) for key in changes}
    for key, value in changes.items():
        setattr(project, key, value)
    events.record(
        session, ctx, "project.set", kind="project", id=project.id, name=project.name, before=before, after=changes
    )
    return project


def delete(session: Session, ctx: Context, id_or_name: str) -> None:
    """Delete a project that owns nothing but its default security group. Raises Conflict naming what it still owns."""
    authorize(ctx, "project:delete")
    project = find(session, ctx, id_or_name)
    if project.id == ctx.project_id:
        raise Conflict("this is the project you work in", hint="Switch with --os-project first.")
    if own := _owned(session, project.id):
        listed = ", ".join(f"{count} {what}" for what, count in own.items())
        raise Conflict(f"project {project.name} still has {listed}", hint=f"Delete its {next(iter(own))} first.")
    for table in (SecurityGroupRule, SecurityGroup):
        session.execute(sql_delete(table).where(col(table.project_id) == project.id))
    session.execute(sql_delete(RbacPolicy).where(col(RbacPolicy.target_project) == project.id))
    quotas.forget(session, project.id)
    session.delete(project)
    events.record(session, ctx, "project.delete", kind="project", id=project.id, name=project.name)


def _owned(session: Session, project_id: str) -> dict[str, int]:
    """What a project has that does not go with it, in the order in which it can be deleted."""
    counts = {
        what.replace("_", " "): quotas.used(session, project_id, what)
        for what in ("instances", "backups", "snapshots", "volumes", "floating_ips", "routers", "networks", "images")
    }
    for what, table, own in (
        ("ports", Port, ~col(Port.device_owner).startswith("network:")),
        ("security groups", SecurityGroup, col(SecurityGroup.name) != "default"),
    ):
        query = select(func.count()).select_from(table).where(col(table.project_id) == project_id, own)
        counts[what] = session.execute(query).scalar_one()
    return {what: count for what, count in counts.items() if count}
