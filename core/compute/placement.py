"""From the database to the scheduler and back: a snapshot of the hosts, the choice, and the claim.

Runs inside the verb's write transaction, so what was seen is still so when it is claimed.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.compute.scheduler.model import NEEDS, Funnel, HostView, Request
from core.compute.scheduler.schedulers import SCHEDULERS
from core.errors import Invalid, NoValidHost
from core.hosts import aggregates, hosts
from core.hosts.hosts import Host
from core.operations.operations import Operation, State
from core.sql import select
from core.store import clock_of

HINTS = ("same_host", "different_host")
"""Scheduler hints understood so far; values are instance ids or names, comma separated."""


def snapshot(session: Session, project_id: str) -> list[HostView]:
    """Every host as the scheduler sees it."""
    instances: dict[str, int] = {}
    own: dict[str, set[str]] = {}
    placed = select(Instance.host_id, Instance.project_id, Instance.id).where(
        col(Instance.deleted_at) == 0, col(Instance.host_id).is_not(None)
    )
    counted = (
        select(Instance.host_id, func.count())
        .where(col(Instance.deleted_at) == 0, col(Instance.host_id).is_not(None))
        .group_by(col(Instance.host_id))
    )
    for host_id, count in session.execute(counted):
        instances[host_id] = count
    for host_id, _, instance_id in session.execute(placed.where(col(Instance.project_id) == project_id)):
        own.setdefault(host_id, set()).add(instance_id)
    busy: dict[str, int] = dict(
        session.execute(
            select(Operation.lane, func.count())
            .where(col(Operation.state).in_([State.RUNNING, State.READY]))
            .group_by(col(Operation.lane))
        ).all()
    )
    groups = aggregates.properties_by_host(session)
    return [
        HostView(
            id=host.id,
            name=host.name,
            enabled=host.enabled,
            disabled_reason=host.disabled_reason,
            up=host.state == "up",
            down_reason=host.state_reason,
            zone=host.availability_zone,
            arch=host.arch,
            limit={need: host.limit(need) for need in NEEDS},
            used={need: getattr(host, f"{need}_used") for need in NEEDS},
            instances=instances.get(host.id, 0),
            project_instances=frozenset(own.get(host.id, ())),
            operations=busy.get(host.id, 0),
            failed_builds=host.failed_builds,
            aggregates=tuple(groups.get(host.id, ())),
        )
        for host in session.execute(
            select(Host).order_by(col(Host.name)).execution_options(populate_existing=True)
        ).scalars()
    ]


def request_for(
    session: Session,
    instance: Instance,
    *,
    zone: str | None,
    host: str | None,
    avoid: frozenset[str] = frozenset(),
) -> Request:
    """What the scheduler is asked for one instance. Raises Invalid for a hint it does not know."""
    groups: dict[str, frozenset[str]] = {}
    for key, value in instance.hints.items():
        if key not in HINTS:
            raise Invalid(f"unknown scheduler hint {key!r}", hint=f"Known: {', '.join(HINTS)}.")
        wanted = {part.strip() for part in value.split(",") if part.strip()}
        found = session.execute(
            select(Instance.id).where(
                col(Instance.project_id) == instance.project_id,
                col(Instance.deleted_at) == 0,
                col(Instance.id).in_(wanted) | col(Instance.name).in_(wanted),
            )
        ).scalars()
        groups[key] = frozenset(found)
        if not groups[key]:
            raise Invalid(f"hint {key}: no such instance {value!r}", hint="skydeck server list shows them.")
    return Request(
        project_id=instance.project_id,
        **instance.needs,
        zone=zone,
        host=host,
        arch=instance.image_properties.get("architecture"),
        extra_specs=instance.extra_specs,
        same_host=groups.get("same_host", frozenset()),
        different_host=groups.get("different_host", frozenset()),
        avoid=avoid,
    )


def place(
    session: Session, instance: Instance, request: Request, *, scheduler: str, views: list[HostView] | None = None
) -> tuple[str, Funnel]:
    """Choose a host and claim it: (host id, funnel). Raises NoValidHost with the funnel, Invalid for a scheduler that
    does not exist.

    `views`, when given, is updated in place, so that the next of many instances sees this one's claim.
    """
    if scheduler not in SCHEDULERS:
        raise Invalid(f"unknown scheduler {scheduler!r}", hint=f"In config.toml, one of {', '.join(SCHEDULERS)}.")
    views = snapshot(session, instance.project_id) if views is None else views
    candidates, funnel = SCHEDULERS[scheduler](request, views, clock_of(session).random)
    for candidate in candidates:
        claimed = hosts.claim(
            session,
            id=clock_of(session).uuid(),
            host_id=candidate.id,
            instance_id=instance.id,
            needs=instance.needs,
        )
        if claimed:
            at = views.index(candidate)
            views[at] = dataclasses.replace(
                candidate,
                used={need: candidate.used[need] + instance.needs[need] for need in NEEDS},
                instances=candidate.instances + 1,
                project_instances=candidate.project_instances | {instance.id},
                operations=candidate.operations + 1,
            )
            return candidate.id, funnel
    raise no_valid_host(funnel)


def no_valid_host(funnel: Funnel) -> NoValidHost:
    """The refusal, with the smallest next act in its hint."""
    details: dict[str, Any] = funnel.to_json()
    if not funnel.total:
        hint = "Add one: skydeck host add ADDRESS."
    else:
        host, (by, why) = next(iter(funnel.rejected.items()), ("", ("", "")))
        hint = f"For example {host}: {why}." if by else ""
    return NoValidHost(f"no valid host was found: {funnel.summary()}", hint=hint, funnel=details)
