"""Quotas: counted live inside the write transaction, never a stored usage, so they cannot drift.

-1 means unlimited. A project's own limit wins over the `default` class, which wins over the numbers here
(nova/conf/quota.py, neutron/conf/quota.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sqlalchemy import Select, delete
from sqlalchemy import update as update_rows
from sqlmodel import Field, Session, SQLModel, col

from core import events
from core.context import Context
from core.errors import Invalid, QuotaExceeded
from core.identity.policy import authorize
from core.sql import select

UNLIMITED = -1
_LIMITS = "quota_limits"
DEFAULT_CLASS = "default"

DEFAULTS: dict[str, int] = {
    "instances": 10,
    "cores": 20,
    "ram": 51200,
    "metadata_items": 128,
    "injected_files": 5,
    "injected_file_content_bytes": 10240,
    "injected_file_path_bytes": 255,
    "key_pairs": 100,
    "server_groups": 10,
    "server_group_members": 10,
    "networks": 100,
    "subnets": 100,
    "ports": 500,
    "routers": 10,
    "floating_ips": 50,
    "security_groups": 10,
    "security_group_rules": 100,
    "rbac_policies": 10,
    "volumes": 10,
    "snapshots": 10,
    "gigabytes": 1000,
    "backups": 10,
    "backup_gigabytes": 1000,
    "per_volume_gigabytes": UNLIMITED,
    "images": UNLIMITED,
    "image_size": 1 << 40,
}
"""Resource to limit. ram in MiB, image_size in bytes of one image's virtual size; key_pairs are per user."""


class Quota(SQLModel, table=True):
    """A limit that differs from the defaults. `project_id` may be the class name `default`."""

    project_id: str = Field(primary_key=True)
    resource: str = Field(primary_key=True)
    limit: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Usage:
    resource: str
    limit: int
    used: int | None
    """None for resources that are a bound on one object, not a count."""


Counter = Callable[[str], Select[Any]]
_counters: dict[str, Counter] = {}

Family = Callable[[Session], dict[str, Counter]]
_families: list[Family] = []


def counts(resource: str) -> Callable[[Counter], Counter]:
    """Register how a resource is counted: a function from project id to a one-value SELECT. Nouns do this."""

    def register(counter: Counter) -> Counter:
        _counters[resource] = counter
        return counter

    return register


def family(members: Family) -> Family:
    """Register resources that come and go with rows, such as `gigabytes_<volume type>`: a function from session to
    {resource: its counter}. They are unlimited unless a limit is set."""
    _families.append(members)
    return members


def _members(session: Session) -> dict[str, Counter]:
    return {resource: counter for members in _families for resource, counter in members(session).items()}


def limits(session: Session, project_id: str) -> dict[str, int]:
    """Every limit in force for a project. Read once in a session: a create asks for many of them."""
    known: dict[str, dict[str, int]] = session.info.setdefault(_LIMITS, {})
    if project_id not in known:
        known[project_id] = _limits(session, project_id)
    return known[project_id]


def _limits(session: Session, project_id: str) -> dict[str, int]:
    rows = session.execute(
        select(Quota.project_id, Quota.resource, Quota.limit).where(
            col(Quota.project_id).in_([project_id, DEFAULT_CLASS])
        )
    ).all()
    found = DEFAULTS | dict.fromkeys(_members(session), UNLIMITED)
    for owner in (DEFAULT_CLASS, project_id):
        found.update({resource: limit for whose, resource, limit in rows if whose == owner and resource in found})
    return found


def refresh(session: Session) -> None:
    """The members of a family changed in this session."""
    session.info.pop(_LIMITS, None)


def rename(session: Session, resource: str, to: str | None) -> None:
    """The limits set for a member of a family follow its new name; None: it is gone, and they with it."""
    mine = col(Quota.resource) == resource
    if to is None:
        session.execute(delete(Quota).where(mine))
    else:
        session.execute(update_rows(Quota).where(mine).values(resource=to))
    refresh(session)


def used(session: Session, project_id: str, resource: str) -> int:
    """How much of a counted resource a project has now."""
    counter = _counters.get(resource) or _members(session)[resource]
    return int(session.execute(counter(project_id)).scalar_one() or 0)


def tally(session: Session, project_id: str) -> dict[str, int]:
    """How much a project has now of everything that is counted; of families those that are limited."""
    limited = limits(session, project_id)
    members = (resource for resource in _members(session) if limited[resource] != UNLIMITED)
    counted = (resource for resource in DEFAULTS if resource in _counters)
    return {resource: used(session, project_id, resource) for resource in (*counted, *members)}


def lift(session: Session, project_id: str) -> None:
    """Nothing is limited in the rest of this session: for a rehearsal that is to tell by how much a quota is passed."""
    session.info.setdefault(_LIMITS, {})[project_id] = dict.fromkeys(limits(session, project_id), UNLIMITED)


def room(session: Session, project_id: str, resource: str) -> int | None:
    """How much more a project may take; None when unlimited. Never negative."""
    limit = limits(session, project_id)[resource]
    return None if limit == UNLIMITED else max(0, limit - used(session, project_id, resource))


def check(session: Session, ctx: Context, **wanted: int) -> None:
    """Raise QuotaExceeded unless the project may take this much more of each resource.

    Call inside the write transaction that takes it: the transaction is what makes the count hold.
    """
    known = limits(session, ctx.project_id)
    for resource, amount in wanted.items():
        limit = known[resource]
        if limit == UNLIMITED or amount <= 0:
            continue
        have = used(session, ctx.project_id, resource)
        if have + amount > limit:
            raise QuotaExceeded(
                f"quota exceeded for {resource}: {have} of {limit} used, {amount} more wanted",
                hint=f"Free some, or have an admin run: skydeck quota set {_option(resource, have + amount)} "
                f"{ctx.project_name}",
            )


def _option(resource: str, limit: int) -> str:
    """How the command line sets it."""
    if resource in DEFAULTS:
        return f"--{resource.replace('_', '-')} {limit}"
    what, _, volume_type = resource.partition("_")
    return f"--volume-type {volume_type} --{what} {limit}"


def forget(session: Session, project_id: str) -> None:
    """Drop a deleted project's own limits."""
    session.execute(delete(Quota).where(col(Quota.project_id) == project_id))
    session.info.pop(_LIMITS, None)


def show(session: Session, ctx: Context, project_id: str) -> list[Usage]:
    """Limits and use of a project, in the order of DEFAULTS; of families those that are limited."""
    authorize(ctx, "quota:show")
    return [
        Usage(
            resource=resource,
            limit=limit,
            used=used(session, project_id, resource) if resource in _counters or resource not in DEFAULTS else None,
        )
        for resource, limit in limits(session, project_id).items()
        if resource in DEFAULTS or limit != UNLIMITED
    ]


def update(session: Session, ctx: Context, project_id: str, project_name: str, values: dict[str, int]) -> None:
    """Set a project's own limits (or, for project_id `default`, the class's). A limit below use is allowed."""
    authorize(ctx, "quota:set")
    for resource, limit in values.items():
        if resource not in DEFAULTS and resource not in _members(session):
            raise Invalid(f"unknown quota {resource!r}", hint=f"Known: {', '.join(DEFAULTS)}.")
        if limit < UNLIMITED:
            raise Invalid(f"quota {resource} cannot be {limit}", hint="-1 means unlimited.")
    before = {resource: limits(session, project_id)[resource] for resource in values}
    for resource, limit in values.items():
        session.merge(Quota(project_id=project_id, resource=resource, limit=limit))
    session.info.pop(_LIMITS, None)
    events.record(
        session,
        ctx,
        "quota.set",
        kind="project",
        id=project_id,
        name=project_name,
        project_id=project_id,
        before=before,
        after=values,
    )
