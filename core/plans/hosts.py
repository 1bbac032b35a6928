"""Emptying a host of work for maintenance, and giving it back to its guests.

Servers cannot be moved between hosts: maintenance shuts them down where they are, so that the machine may be switched
off, and its end starts those again that it stopped.
"""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col

from core.compute.instances import states, verbs
from core.compute.instances.table import Instance
from core.context import Context
from core.events import Event
from core.hosts import hosts
from core.hosts.table import Host
from core.identity.policy import authorize
from core.plans.model import Blocker, Plan, Step
from core.plans.steps import Obstacles, step
from core.sql import select

REASON = "maintenance"
"""Why the host is disabled meanwhile."""


def maintain(session: Session, ctx: Context, id_or_name: str) -> Plan:
    """No new servers, and those that run are shut down. Raises NotFound, Forbidden."""
    authorize(ctx, "host:manage")
    host = hosts.find(session, ctx, id_or_name)
    blockers = Obstacles(session)
    if host.state != "up":
        blockers.add(
            Blocker(
                what=f"{host.name} does not answer: {host.state_reason}",
                hint="Its servers can be shut down only by itself. Cordon it, and wait until it is back.",
            )
        )
    steps: list[Step] = []
    if host.enabled:
        note = "no new servers are placed on it"
        steps.append(step(0, "disable", "host", host, hosts.update_host, note, enabled=False, disabled_reason=REASON))
    rest = []
    for instance in _on(session, host):
        if instance.vm_state == states.ACTIVE or instance.task_state is not None:
            steps.append(step(1, "stop", "server", instance, _power("stop"), f"{instance.status}; it shuts down"))
            blockers.refused(ctx, instance, "stop")
        elif instance.vm_state == states.PAUSED:
            blockers.add(
                Blocker(
                    what=f"{instance.name} is PAUSED: its memory is lost when the machine is switched off",
                    hint="Unpause it, so that it can be shut down; or go on.",
                    hard=False,
                )
            )
        else:
            rest.append(instance.name)
    return Plan(
        name="host.maintain",
        object_id=host.id,
        word=host.name,
        title=f"prepare host {host.name} for maintenance",
        steps=tuple(steps),
        blockers=blockers.all(),
        keeps=(
            "every server stays on it: servers cannot be moved between hosts, they are shut down",
            *([f"{len(rest)} that do not run stay as they are"] if rest else []),
        ),
    )


def resume(session: Session, ctx: Context, id_or_name: str) -> Plan:
    """The end of maintenance: what it stopped is started. Raises NotFound, Forbidden."""
    authorize(ctx, "host:manage")
    host = hosts.find(session, ctx, id_or_name)
    blockers = Obstacles(session)
    if host.state != "up":
        hint = "Switch it on, and wait until it answers."
        blockers.add(Blocker(what=f"{host.name} does not answer: {host.state_reason}", hint=hint))
    steps: list[Step] = []
    if not host.enabled:
        steps.append(step(0, "enable", "host", host, hosts.update_host, "servers are placed on it again", enabled=True))
    request = _stopped_by(session, host)
    for instance in _on(session, host):
        if instance.vm_state == states.STOPPED and request and _last_stop(session, instance) == request:
            steps.append(step(1, "start", "server", instance, _power("start"), "stopped for the maintenance"))
            blockers.refused(ctx, instance, "start")
    return Plan(
        name="host.resume",
        object_id=host.id,
        word=host.name,
        title=f"end the maintenance of host {host.name}",
        steps=tuple(steps),
        blockers=blockers.all(),
        keeps=("servers that somebody stopped before stay stopped",),
    )


def _on(session: Session, host: Host) -> list[Instance]:
    query = select(Instance).where(col(Instance.host_id) == host.id, col(Instance.deleted_at) == 0)
    return list(session.execute(query.order_by(col(Instance.name), col(Instance.id))).scalars())


def _power(verb: str) -> Any:
    return lambda session, ctx, id: verbs.power(session, ctx, id, verb)


def _last(session: Session, object_id: str, action: str) -> Event | None:
    query = select(Event).where(col(Event.object_id) == object_id, col(Event.action) == action)
    return session.execute(query.order_by(col(Event.id).desc()).limit(1)).scalar_one_or_none()


def _stopped_by(session: Session, host: Host) -> str:
    """The request that disabled the host for maintenance; empty when something else did."""
    event = _last(session, host.id, "host.set")
    if event is None or (event.after or {}).get("disabled_reason") != REASON:
        return ""
    return event.request_id


def _last_stop(session: Session, instance: Instance) -> str:
    event = _last(session, instance.id, "instance.stop")
    return event.request_id if event is not None else ""
