"""The listings of every noun, by name: one explicit map that the command line and the app both read."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, literal
from sqlmodel import Session, col

from core import moments
from core.compute.flavors import Flavor
from core.compute.flavors import visible as flavor_visible
from core.compute.instances.reads import LISTING as INSTANCES
from core.compute.instances.table import Instance
from core.compute.keypairs import Keypair
from core.events import Event
from core.hosts import aggregates
from core.hosts.aggregates import Aggregate
from core.hosts.drift import Finding
from core.hosts.hosts import Host
from core.identity import usage
from core.identity.projects import Domain, Project
from core.identity.users import Assignment, User
from core.images import lists as images
from core.listing import Listing, Row, own
from core.network import lists as network
from core.operations.operations import Operation
from core.sql import select
from core.volumes import lists as volumes

_used_by = (
    select(func.count())
    .where(col(Instance.flavor_id) == col(Flavor.id), col(Instance.deleted_at) == 0)
    .correlate(Flavor)
    .scalar_subquery()
)

FLAVORS = Listing(
    kind="flavor",
    rule="flavor:list",
    columns={
        "id": col(Flavor.id),
        "name": col(Flavor.name),
        "vcpus": col(Flavor.vcpus),
        "ram_mb": col(Flavor.ram_mb),
        "disk_gb": col(Flavor.disk_gb),
        "ephemeral_gb": col(Flavor.ephemeral_gb),
        "swap_mb": col(Flavor.swap_mb),
        "is_public": col(Flavor.is_public),
        "used": _used_by,
        "extra_specs": col(Flavor.extra_specs),
        "description": col(Flavor.description),
    },
    source=lambda query: query.select_from(Flavor),
    scope=flavor_visible,
    sort="ram_mb,name",
)

KEYPAIRS = Listing(
    kind="keypair",
    rule="keypair:list",
    columns={
        "name": col(Keypair.name),
        "type": col(Keypair.type),
        "fingerprint": col(Keypair.fingerprint),
        "public_key": col(Keypair.public_key),
        "created_at": col(Keypair.created_at),
    },
    source=lambda query: query.select_from(Keypair),
    scope=lambda ctx: col(Keypair.user_id) == ctx.user_id,
    key="name",
)

_placed = (
    select(func.count())
    .where(col(Instance.host_id) == col(Host.id), col(Instance.deleted_at) == 0)
    .correlate(Host)
    .scalar_subquery()
)

HOSTS = Listing(
    kind="host",
    rule="host:list",
    columns={
        "id": col(Host.id),
        "name": col(Host.name),
        "state": col(Host.state),
        "state_reason": col(Host.state_reason),
        "enabled": col(Host.enabled),
        "disabled_reason": col(Host.disabled_reason),
        "address": col(Host.address),
        "port": col(Host.port),
        "ssh_user": col(Host.ssh_user),
        "availability_zone": col(Host.availability_zone),
        "arch": col(Host.arch),
        "cpu_model": col(Host.cpu_model),
        "accel": col(Host.accel),
        "instances": _placed,
        "running": col(Host.running),
        "vcpus": col(Host.vcpus),
        "vcpus_used": col(Host.vcpus_used),
        "vcpus_cap": col(Host.vcpus_cap),
        "ram_mb": col(Host.ram_mb),
        "ram_mb_used": col(Host.ram_mb_used),
        "ram_mb_cap": col(Host.ram_mb_cap),
        "ram_free_mb": col(Host.ram_free_mb),
        "disk_gb": col(Host.disk_gb),
        "disk_gb_used": col(Host.disk_gb_used),
        "disk_gb_cap": col(Host.disk_gb_cap),
        "disk_free_gb": col(Host.disk_free_gb),
        "load1": col(Host.load1),
        "versions": col(Host.versions),
        "seen_at": col(Host.seen_at),
        "created_at": col(Host.created_at),
    },
    source=lambda query: query.select_from(Host),
    scope=lambda ctx: True,
    search=("name", "address", "id"),
)


def _with_hosts(session: Session, rows: list[Row]) -> None:
    """`hosts`: the names of those in it."""
    for row in rows:
        row["hosts"] = aggregates.members(session, row["id"])


AGGREGATES = Listing(
    kind="aggregate",
    rule="aggregate:list",
    columns={"id": col(Aggregate.id), "name": col(Aggregate.name), "properties": col(Aggregate.properties)},
    source=lambda query: query.select_from(Aggregate),
    scope=lambda ctx: True,
    enrich=_with_hosts,
)

_instances_of = (
    select(func.count())
    .where(col(Instance.project_id) == col(Project.id), col(Instance.deleted_at) == 0)
    .correlate(Project)
    .scalar_subquery()
)


def _with_use(session: Session, rows: list[Row]) -> None:
    """`use`: {instances, cores, ram (MiB), gigabytes: [used, limit]}, a limit of -1 is none; and `users`."""
    found = usage.of_projects(session, [row["id"] for row in rows])
    for row in rows:
        row["use"] = dict(found[row["id"]])
        row["users"] = row["use"].pop("users")


PROJECTS = Listing(
    kind="project",
    rule="project:list",
    columns={
        "id": col(Project.id),
        "name": col(Project.name),
        "enabled": col(Project.enabled),
        "description": col(Project.description),
        "instances": _instances_of,
    },
    source=lambda query: query.select_from(Project),
    scope=lambda ctx: True if ctx.is_admin else col(Project.id) == ctx.project_id,
    search=("name", "id"),
    enrich=_with_use,
)


def _with_roles(session: Session, rows: list[Row]) -> None:
    """`roles`: [{project, role}, …] by project."""
    wanted = [row["id"] for row in rows]
    query = (
        select(Assignment.user_id, Project.name, Assignment.role)
        .join(Project, col(Project.id) == col(Assignment.project_id))
        .where(col(Assignment.user_id).in_(wanted))
        .order_by(col(Project.name), col(Assignment.role))
    )
    found: dict[str, list[Row]] = {}
    for id, project, role in session.execute(query):
        found.setdefault(id, []).append({"project": project, "role": role})
    for row in rows:
        row["roles"] = found.get(row["id"], [])


USERS = Listing(
    kind="user",
    rule="user:list",
    columns={
        "id": col(User.id),
        "name": col(User.name),
        "domain": func.coalesce(col(Domain.name), ""),
        "enabled": col(User.enabled),
        "has_password": col(User.password_hash).is_not(None),
    },
    source=lambda query: query.select_from(User).outerjoin(Domain, col(Domain.id) == col(User.domain_id)),
    scope=lambda ctx: True,
    enrich=_with_roles,
)

OPERATIONS = Listing(
    kind="operation",
    rule="operation:list",
    columns={
        "id": col(Operation.id),
        "seq": col(Operation.seq),
        "kind": col(Operation.kind),
        "object_kind": col(Operation.object_kind),
        "object_id": col(Operation.object_id),
        "object_name": col(Operation.object_name),
        "state": col(Operation.state),
        "step": col(Operation.step),
        "progress": col(Operation.progress),
        "copied": col(Operation.data)["copied"],
        "attempt": col(Operation.attempt),
        "error": col(Operation.error),
        "user_name": col(Operation.user_name),
        "host": func.coalesce(col(Host.name), ""),
        "request_id": col(Operation.request_id),
        "project_id": col(Operation.project_id),
        "created_at": col(Operation.created_at),
        "started_at": col(Operation.started_at),
        "ended_at": col(Operation.ended_at),
    },
    source=lambda query: query.select_from(Operation).outerjoin(Host, col(Host.id) == col(Operation.lane)),
    scope=own(col(Operation.project_id)),
    name="object_name",
    search=("object_name", "kind", "state"),
    sort="-seq",
)

_outcome = (
    select(Operation.state)
    .where(col(Operation.object_id) == col(Event.object_id), col(Operation.request_id) == col(Event.request_id))
    .order_by(col(Operation.seq))
    .limit(1)
    .correlate(Event)
    .scalar_subquery()
)


def _acted(now: int, text: str) -> Any:
    """`instance.create`, `instance`, `create`."""
    action, word = func.lower(Event.action), text.lower()
    return (
        (action == word) | action.startswith(f"{word}.", autoescape=True) | action.endswith(f".{word}", autoescape=True)
    )


def _about(now: int, text: str) -> Any:
    """A piece of its name, the beginning of its id, or its noun."""
    word = text.lower()
    return (
        func.lower(Event.object_name).contains(word, autoescape=True)
        | col(Event.object_id).startswith(word, autoescape=True)
        | (col(Event.object_kind) == word)
    )


EVENTS = Listing(
    kind="event",
    rule="event:list",
    columns={
        "id": col(Event.id),
        "at": col(Event.at),
        "action": col(Event.action),
        "object_kind": col(Event.object_kind),
        "object_id": col(Event.object_id),
        "object_name": col(Event.object_name),
        "user_name": col(Event.user_name),
        "source": col(Event.source),
        "request_id": col(Event.request_id),
        "result": func.coalesce(_outcome, literal("done")),
        "before": col(Event.before),
        "after": col(Event.after),
        "project_id": col(Event.project_id),
    },
    source=lambda query: query.select_from(Event),
    scope=own(col(Event.project_id)),
    name="object_name",
    search=("object_name", "action", "user_name"),
    terms={
        "actor": lambda now, text: func.lower(Event.user_name).contains(text.lower(), autoescape=True),
        "action": _acted,
        "object": _about,
        "since": lambda now, text: col(Event.at) >= moments.parse(text, now=now),
        "until": lambda now, text: col(Event.at) < moments.parse(text, now=now),
    },
    sort="-id",
)

FINDINGS = Listing(
    kind="finding",
    rule="finding:list",
    columns={
        "id": col(Finding.id),
        "kind": col(Finding.kind),
        "host": func.coalesce(col(Host.name), ""),
        "object_id": col(Finding.object_id),
        "object_name": col(Finding.object_name),
        "title": col(Finding.title),
        "act": col(Finding.act),
        "evidence": col(Finding.evidence),
        "first_seen": col(Finding.first_seen),
        "last_seen": col(Finding.last_seen),
    },
    source=lambda query: query.select_from(Finding).outerjoin(Host, col(Host.id) == col(Finding.host_id)),
    scope=lambda ctx: col(Finding.resolved_at).is_(None),
    name="object_name",
    search=("object_name", "title", "kind"),
    sort="-first_seen",
)

LISTINGS: dict[str, Listing] = {
    listing.kind: listing
    for listing in (
        INSTANCES,
        *images.LISTINGS,
        FLAVORS,
        KEYPAIRS,
        *network.LISTINGS,
        *volumes.LISTINGS,
        HOSTS,
        AGGREGATES,
        PROJECTS,
        USERS,
        OPERATIONS,
        EVENTS,
        FINDINGS,
    )
}
"""Noun to how it is listed."""
