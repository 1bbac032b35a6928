"""Flavors: the sizes an operator offers. An instance copies the numbers, so that a flavor may change or go."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, exists
from sqlmodel import Field, Session, SQLModel, col

from core import events, names
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.identity.policy import authorize
from core.sql import select
from core.store import clock_of

DEFAULT_FLAVORS = (
    # id, name, ram MB, disk GB, vcpus: what every new cloud has (semantics L)
    ("1", "m1.tiny", 512, 1, 1),
    ("2", "m1.small", 2048, 20, 1),
    ("3", "m1.medium", 4096, 40, 2),
    ("4", "m1.large", 8192, 80, 4),
    ("5", "m1.xlarge", 16384, 160, 8),
)


class Flavor(SQLModel, table=True):
    id: str = Field(primary_key=True)
    """A free string, as in nova."""
    name: str = Field(unique=True)
    vcpus: int
    ram_mb: int
    disk_gb: int
    """Root disk; 0: the image's own size."""
    ephemeral_gb: int = 0
    swap_mb: int = 0
    is_public: bool = True
    description: str = ""
    extra_specs: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON))


class FlavorAccess(SQLModel, table=True):
    """A project that may use a flavor that is not public."""

    flavor_id: str = Field(primary_key=True, foreign_key="flavor.id", ondelete="CASCADE")
    project_id: str = Field(primary_key=True, foreign_key="project.id", ondelete="CASCADE")


def visible(ctx: Context) -> Any:
    """The WHERE that hides other projects' private flavors."""
    if ctx.is_admin:
        return True
    mine = exists().where(col(FlavorAccess.flavor_id) == col(Flavor.id), col(FlavorAccess.project_id) == ctx.project_id)
    return col(Flavor.is_public) | mine


def find(session: Session, ctx: Context, id_or_name: str) -> Flavor:
    """Raises NotFound, also for a private flavor of others."""
    authorize(ctx, "flavor:list")
    wanted = (col(Flavor.id) == id_or_name) | (col(Flavor.name) == id_or_name)
    rows = session.execute(select(Flavor).where(wanted, visible(ctx))).scalars().all()
    for row in rows:
        if row.name == id_or_name:
            return row
    if not rows:
        raise NotFound(f"no flavor {id_or_name!r}", hint="skydeck flavor list shows them.")
    return rows[0]


def create(
    session: Session,
    ctx: Context,
    *,
    name: str,
    ram_mb: int,
    disk_gb: int,
    vcpus: int,
    ephemeral_gb: int = 0,
    swap_mb: int = 0,
    is_public: bool = True,
    description: str = "",
    extra_specs: dict[str, str] | None = None,
    id: str | None = None,
) -> Flavor:
    """A new size. Raises Invalid for numbers below their least, Conflict for a name or id taken."""
    authorize(ctx, "flavor:create")
    names.check(name, "flavor")
    least = {"vcpus": (vcpus, 1), "ram": (ram_mb, 1), "disk": (disk_gb, 0), "ephemeral": (ephemeral_gb, 0)}
    for what, (value, minimum) in (least | {"swap": (swap_mb, 0)}).items():
        if value < minimum:
            raise Invalid(f"a flavor's {what} cannot be {value}", hint=f"At least {minimum}.")
    flavor_id = id or clock_of(session).uuid()
    taken = (col(Flavor.id) == flavor_id) | (col(Flavor.name) == name)
    if session.execute(select(Flavor.id).where(taken)).first():
        raise Conflict(f"flavor {name!r} or id {flavor_id!r} exists", hint="Choose another.")
    flavor = Flavor(
        id=flavor_id,
        name=name,
        vcpus=vcpus,
        ram_mb=ram_mb,
        disk_gb=disk_gb,
        ephemeral_gb=ephemeral_gb,
        swap_mb=swap_mb,
        is_public=is_public,
        description=description,
        extra_specs=extra_specs or {},
    )
    session.add(flavor)
    session.flush()
    events.record(
        session,
        ctx,
        "flavor.create",
        kind="flavor",
        id=flavor.id,
        name=name,
        after={"vcpus": vcpus, "ram_mb": ram_mb, "disk_gb": disk_gb},
    )
    return flavor


def update(
    session: Session,
    ctx: Context,
    id_or_name: str,
    *,
    description: str | None = None,
    extra_specs: dict[str, str] | None = None,
    unset: tuple[str, ...] = (),
    add_project: str | None = None,
) -> Flavor:
    """Change what may change: the numbers of a flavor never do, or two servers of one flavor would differ."""
    authorize(ctx, "flavor:set")
    flavor = find(session, ctx, id_or_name)
    before = {"description": flavor.description, "extra_specs": dict(flavor.extra_specs)}
    if description is not None:
        flavor.description = description
    if extra_specs or unset:
        merged = {**flavor.extra_specs, **(extra_specs or {})}
        flavor.extra_specs = {key: value for key, value in merged.items() if key not in unset}
    if add_project is not None:
        session.merge(FlavorAccess(flavor_id=flavor.id, project_id=add_project))
    after = {"description": flavor.description, "extra_specs": dict(flavor.extra_specs)}
    events.record(session, ctx, "flavor.set", kind="flavor", id=flavor.id, name=flavor.name, before=before, after=after)
    return flavor


def delete(session: Session, ctx: Context, id_or_name: str) -> None:
    """Instances keep the numbers they copied."""
    authorize(ctx, "flavor:delete")
    flavor = find(session, ctx, id_or_name)
    session.delete(flavor)
    events.record(session, ctx, "flavor.delete", kind="flavor", id=flavor.id, name=flavor.name)
