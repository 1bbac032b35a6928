"""Users, roles and who holds which role where; and the context of whoever sits at this terminal."""

from __future__ import annotations

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, Session, SQLModel, col

from core.context import Context
from core.errors import Forbidden, NotFound
from core.identity.projects import DEFAULT_DOMAIN, Project
from core.sql import select


class User(SQLModel, table=True):
    __tablename__ = "account"  # `user` is a reserved word in PostgreSQL
    __table_args__ = (UniqueConstraint("domain_id", "name"),)

    id: str = Field(primary_key=True)
    """32 hex digits."""
    name: str
    domain_id: str = Field(default=DEFAULT_DOMAIN, foreign_key="domain.id")
    enabled: bool = True
    password_hash: str | None = None
    """argon2id; None: this user cannot log in with a password."""


class Role(SQLModel, table=True):
    name: str = Field(primary_key=True)


class Assignment(SQLModel, table=True):
    """A user holds a role in a project."""

    user_id: str = Field(primary_key=True, foreign_key="account.id")
    project_id: str = Field(primary_key=True, foreign_key="project.id", ondelete="CASCADE")
    role: str = Field(primary_key=True, foreign_key="role.name")


def context_for(session: Session, *, user: str, project: str, source: str) -> Context:
    """The context of a named user in a named project.

    An admin of any project may work in every project, as the operator of a private cloud does.
    Raises NotFound for a user or project that does not exist, Forbidden without a role there.
    """
    account = session.execute(select(User).where((col(User.name) == user) | (col(User.id) == user))).scalars().first()
    if account is None or not account.enabled:
        raise NotFound(f"no user {user!r}", hint="Set `user` in config.toml.")
    place = (
        session.execute(select(Project).where((col(Project.name) == project) | (col(Project.id) == project)))
        .scalars()
        .first()
    )
    if place is None or not place.enabled:
        raise NotFound(f"no project {project!r}", hint="skydeck project list shows them.")
    held = session.execute(select(Assignment).where(col(Assignment.user_id) == account.id)).scalars().all()
    roles = {row.role for row in held if row.project_id == place.id or row.role == "admin"}
    if not roles:
        raise Forbidden(f"{account.name} has no role in project {place.name}", hint="An admin can assign one.")
    return Context(
        user_id=account.id,
        user_name=account.name,
        project_id=place.id,
        project_name=place.name,
        roles=frozenset(roles),
        source=source,
    )
