"""Groups: made with the rules neutron gives a new one, seen in their project alone, held while in use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col

from core import names
from core.audit import change, record
from core.context import Context
from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.identity import quotas
from core.identity.policy import authorize
from core.network import fabric, finding, usage  # noqa: F401 - usage tells the quotas how groups are counted
from core.network.tables import PortSecurityGroup, SecurityGroup, SecurityGroupRule
from core.sql import select
from core.store import clock_of, now

DEFAULT: Final = "default"
"""The group every project has, from its first use on; it cannot be renamed."""
ETHERTYPES: Final = ("IPv4", "IPv6")


def find(session: Session, ctx: Context, id_or_name: str) -> SecurityGroup:
    """By id, or a name unique in the project. Raises NotFound, Invalid."""
    authorize(ctx, "security_group:list")
    return finding.find(session, ctx, SecurityGroup, id_or_name, noun="security group")


def find_to_change(session: Session, ctx: Context, id_or_name: str) -> SecurityGroup:
    """`find`, in a transaction that may write: the project's default group is made if this is its first use."""
    if id_or_name == DEFAULT:
        return default_group(session, ctx.project_id)
    return find(session, ctx, id_or_name)


def resolve(session: Session, project_id: str, ids_or_names: Iterable[str]) -> list[str]:
    """Ids of a project's groups, each once, in the order named. Raises NotFound, Invalid for an ambiguous name."""
    found: dict[str, None] = {}
    for text in ids_or_names:
        if text == DEFAULT:
            found[default_group(session, project_id).id] = None
            continue
        query = select(SecurityGroup.id).where(
            (col(SecurityGroup.id) == text) | (col(SecurityGroup.name) == text),
            col(SecurityGroup.project_id) == project_id,
        )
        ids = session.execute(query).scalars().all()
        if not ids:
            raise NotFound(f"no security group {text!r}", hint="skydeck security group list shows them.")
        if len(ids) > 1:
            raise Invalid(f"{len(ids)} security groups are named {text!r}", hint="Use the id.")
        found[ids[0]] = None
    return list(found)


def default_group(session: Session, project_id: str) -> SecurityGroup:
    """A project's default group, made on first use: everything out, and in from the members of the group itself."""
    query = select(SecurityGroup).where(col(SecurityGroup.project_id) == project_id, col(SecurityGroup.name) == DEFAULT)
    group = session.execute(query).scalar_one_or_none()
    if group is None:
        group = _new(session, project_id, DEFAULT, "Default security group")
        for ethertype in ETHERTYPES:
            session.add(_rule(session, group, "ingress", ethertype, remote_group_id=group.id))
        session.flush()
    return group


def create(session: Session, ctx: Context, *, name: str, description: str = "") -> SecurityGroup:
    """A group that lets everything out and nothing in. Raises Invalid, QuotaExceeded."""
    authorize(ctx, "security_group:create")
    names.check(name, "security group")
    if name.lower() == DEFAULT:
        raise Conflict("every project has its default security group already", hint="Choose another name.")
    quotas.check(session, ctx, security_groups=1, security_group_rules=len(ETHERTYPES))
    group = _new(session, ctx.project_id, name, description)
    record(session, ctx, group, kind="security_group", action="create", after={"description": description})
    return group


def set(
    session: Session, ctx: Context, id_or_name: str, *, name: str | None = None, description: str | None = None
) -> SecurityGroup:
    """Change what is not None. Raises Conflict for another name of, or for, a default group."""
    authorize(ctx, "security_group:set")
    group = find_to_change(session, ctx, id_or_name)
    values = {"name": name, "description": description}
    if name is not None and name != group.name:
        names.check(name, "security group")
        if DEFAULT in (group.name, name.lower()):
            raise Conflict("the default security group keeps its name, and no other group has it")
    change(session, ctx, group, kind="security_group", values={k: v for k, v in values.items() if v is not None})
    return group


def delete(session: Session, ctx: Context, id_or_name: str) -> None:
    """The group and its rules. Raises Conflict while ports are in it or other groups' rules name it."""
    authorize(ctx, "security_group:delete")
    group = find(session, ctx, id_or_name)
    if group.name == DEFAULT and not ctx.is_admin:
        raise Forbidden("the default security group cannot be deleted", hint="An admin may.")
    members = session.execute(
        select(func.count()).where(col(PortSecurityGroup.security_group_id) == group.id)
    ).scalar_one()
    if members:
        raise Conflict(f"security group {group.name} is used by {members} ports", hint="Take it off them first.")
    naming = select(SecurityGroup.name).where(
        col(SecurityGroupRule.remote_group_id) == group.id,
        col(SecurityGroupRule.security_group_id) != group.id,
        col(SecurityGroup.id) == col(SecurityGroupRule.security_group_id),
    )
    if others := sorted(frozenset(session.execute(naming).scalars())):
        raise Conflict(
            f"security group {group.name} is named by rules of {', '.join(others[:5])}",
            hint="Delete these rules first.",
        )
    remove(session, group)
    record(session, ctx, group, kind="security_group", action="delete")


def remove(session: Session, group: SecurityGroup) -> None:
    """Take a group that nobody uses, with its rules."""
    fabric.touch(session, groups=[group.id])
    for rule in (
        session.execute(select(SecurityGroupRule).where(col(SecurityGroupRule.security_group_id) == group.id))
        .scalars()
        .all()
    ):
        session.delete(rule)
    session.flush()
    session.delete(group)
    session.flush()


def _new(session: Session, project_id: str, name: str, description: str) -> SecurityGroup:
    group = SecurityGroup(
        id=clock_of(session).uuid(),
        name=name,
        project_id=project_id,
        description=description,
        created_at=now(session),
    )
    session.add(group)
    try:
        session.flush()
    except IntegrityError as lost:
        raise Conflict("the project's default security group was made at the same moment", hint="Try again.") from lost
    for ethertype in ETHERTYPES:
        session.add(_rule(session, group, "egress", ethertype))
    session.flush()
    return group


def _rule(
    session: Session, group: SecurityGroup, direction: str, ethertype: str, *, remote_group_id: str | None = None
) -> SecurityGroupRule:
    return SecurityGroupRule(
        id=clock_of(session).uuid(),
        security_group_id=group.id,
        project_id=group.project_id,
        direction=direction,
        ethertype=ethertype,
        remote_group_id=remote_group_id,
        created_at=now(session),
    )
