"""From the database to the scheduler and back: a snapshot of the hosts, the choice, and the claim.

The choice and the claim run inside the verb's write transaction, so what is claimed is so.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from sqlalchemy import Select, func
from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.compute.scheduler import filters
from core.compute.scheduler.model import NEEDS, Funnel, HostView, Request, VolumeNeed
from core.compute.scheduler.schedulers import SCHEDULERS
from core.errors import Invalid, NoValidHost
from core.hosts import aggregates, hosts
from core.hosts.hosts import Claim, Host
from core.operations.operations import Operation, State
from core.sql import select
from core.store import clock_of

HINTS = ("same_host", "different_host")
"""Scheduler hints understood so far; values are instance ids or names, comma separated."""


@dataclasses.dataclass(kw_only=True)
class Seen:
    """The hosts as they were seen, perhaps before this transaction began: looking at hundreds takes longer than the one
    writer should be held. Whoever is chosen is looked at again before it is claimed."""

    views: list[HostView]
    certain: set[str] = dataclasses.field(default_factory=set)
    """Ids of those that were looked at inside this transaction: nobody else can have changed them since."""
    choice: tuple[Request, list[HostView], Funnel] | None = None
    """What the scheduler already said to one request about these views."""

    def choose(self, request: Request, *, scheduler: str, dice: random.Random) -> tuple[list[HostView], Funnel]:
        """(candidates, best first; what became of every host). Raises Invalid for a scheduler that does not exist."""
        if scheduler not in SCHEDULERS:
            raise Invalid(f"unknown scheduler {scheduler!r}", hint=f"In config.toml, one of {', '.join(SCHEDULERS)}.")
        if self.choice is None or self.choice[0] != request:
            self.choice = (request, *SCHEDULERS[scheduler](request, self.views, dice))
        return self.choice[1:]

    def take(self, candidate: HostView, now: HostView, instance: Instance) -> None:
        """The instance was placed there: the next of many shall see it. `now` is the candidate as claimed."""
        self.certain.add(now.id)
        self.choice = None
        self.views[self.views.index(candidate)] = now._replace(
            used={need: now.used[need] + instance.needs[need] for need in NEEDS},
            instances=now.instances + 1,
            project_instances=now.project_instances | {instance.id},
            operations=now.operations + 1,
        )


def look(session: Session, *, affinity_of: str | None = None, certain: bool = False) -> Seen:
    """All hosts. `affinity_of` is the project whose instances hints may name; `certain` inside a write transaction."""
    views = _views(session, affinity_of=affinity_of)
    return Seen(views=views, certain={view.id for view in views} if certain else set())


def _again(session: Session, view: HostView, *, affinity_of: str | None) -> HostView | None:
    """A host as it is now; None when it is gone. How busy it is only ranks hosts, and is left as it was."""
    fresh = _views(session, affinity_of=affinity_of, only=view.id)
    return fresh[0]._replace(operations=view.operations) if fresh else None


def _views(session: Session, *, affinity_of: str | None, only: str | None = None) -> list[HostView]:
    def narrow(query: Select[Any], column: Any) -> Select[Any]:
        return query if only is None else query.where(column == only)

    claims = select(Claim.host_id, func.count()).group_by(col(Claim.host_id))
    instances: dict[str, int] = dict(session.execute(narrow(claims, col(Claim.host_id))).all())
    busy: dict[str, int] = {}
    if only is None:
        lanes = select(Operation.lane, func.count()).where(col(Operation.state).in_([State.RUNNING, State.READY]))
        busy.update(session.execute(lanes.group_by(col(Operation.lane))).all())
    own: dict[str, set[str]] = {}
    if affinity_of is not None:
        placed = select(Instance.host_id, Instance.id).where(
            col(Instance.project_id) == affinity_of, col(Instance.deleted_at) == 0, col(Instance.host_id).is_not(None)
        )
        for host_id, instance_id in session.execute(narrow(placed, col(Instance.host_id))):
            own.setdefault(host_id, set()).add(instance_id)
    groups = aggregates.properties_by_host(session)
    return [
        HostView(
            id=id_,
            name=name,
            enabled=enabled,
            disabled_reason=disabled_reason,
            up=state == "up",
            down_reason=state_reason,
            zone=zone,
            arch=arch,
            limit=dict(zip(NEEDS, numbers[:3], strict=True)),
            used=dict(zip(NEEDS, numbers[3:], strict=True)),
            instances=instances.get(id_, 0),
            project_instances=frozenset(own.get(id_, ())),
            operations=busy.get(id_, 0),
            failed_builds=failed_builds,
            aggregates=tuple(groups.get(id_, ())),
        )
        for id_, name, enabled, disabled_reason, state, state_reason, zone, arch, failed_builds, *numbers in (
            session.execute(narrow(_HOSTS, col(Host.id)))
        )
    ]


_HOSTS = select(
    Host.id,
    Host.name,
    Host.enabled,
    Host.disabled_reason,
    Host.state,
    Host.state_reason,
    Host.availability_zone,
    Host.arch,
    Host.failed_builds,
    *(getattr(Host, f"{need}_cap") for need in NEEDS),
    *(getattr(Host, f"{need}_used") for need in NEEDS),
).order_by(col(Host.name))
"""Columns, not objects: this is read for every create."""


def request_for(
    session: Session,
    instance: Instance,
    *,
    zone: str | None,
    host: str | None,
    avoid: frozenset[str] = frozenset(),
    volumes: tuple[VolumeNeed, ...] = (),
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
        volumes=volumes,
    )


def place(
    session: Session, instance: Instance, request: Request, *, scheduler: str, seen: Seen | None = None
) -> tuple[str, Funnel]:
    """Choose a host and claim it: (host id, funnel). Raises NoValidHost with the funnel, Invalid for a scheduler that
    does not exist.

    `seen`, when given, is updated in place, so that the next of many instances sees this one's claim.
    """
    affinity_of = instance.project_id if instance.hints else None
    if seen is None:
        seen = look(session, affinity_of=affinity_of, certain=True)
    candidates, funnel = seen.choose(request, scheduler=scheduler, dice=clock_of(session).random)
    for candidate in candidates:
        view: HostView | None = candidate
        if candidate.id not in seen.certain:
            view = _again(session, candidate, affinity_of=affinity_of)
            if view is None or not filters.apply(request, [view])[0]:
                continue
        assert view is not None
        claimed = hosts.claim(
            session,
            id=clock_of(session).uuid(),
            host_id=view.id,
            instance_id=instance.id,
            needs=instance.needs,
        )
        if claimed:
            seen.take(candidate, view, instance)
            return view.id, funnel
    if len(seen.certain) < len(seen.views):
        # Nobody of those seen before will do any more: this time look at all of them now.
        fresh = look(session, affinity_of=affinity_of, certain=True)
        seen.views, seen.certain, seen.choice = fresh.views, fresh.certain, None
        return place(session, instance, request, scheduler=scheduler, seen=seen)
    raise no_valid_host(funnel, request)


def no_valid_host(funnel: Funnel, request: Request) -> NoValidHost:
    """The refusal, with an example in its hint, and what was asked beside the funnel: core.compute.why reads it."""
    details: dict[str, Any] = {**funnel.to_json(), "asked": request.to_json()}
    if not funnel.total:
        hint = "Add one: skydeck host add ADDRESS."
    else:
        host, (by, why) = next(iter(funnel.rejected.items()), ("", ("", "")))
        hint = f"For example {host}: {why}." if by else ""
    return NoValidHost(f"no valid host was found: {funnel.summary()}", hint=hint, funnel=details)
