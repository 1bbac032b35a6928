"""The cloud at a glance: the counts of a dashboard, in a few aggregate queries.

Every count is of a listing under a filter (`core.listing.tally`), so that a list opened with that filter shows exactly
as many rows. What the caller may not list is None.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col

from core import listing as lists
from core.compute.instances import states
from core.context import Context
from core.hosts.hosts import Host
from core.identity import quotas
from core.identity.policy import allowed
from core.lists import LISTINGS
from core.operations.operations import State
from core.sql import select
from core.volumes.tables import Backup

QUOTAS = ("instances", "cores", "ram", "volumes", "gigabytes", "snapshots", "floating_ips")
"""Those that run out first, in the order shown."""

NEWEST = 10
"""Operations of a kind."""

FAULTY = ("image", "volume", "snapshot", "backup")
"""Nouns whose status may begin with `error`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HostLoad:
    """A host, as it was last observed."""

    id: str
    name: str
    up: bool
    enabled: bool
    vcpus: int
    load1: float
    ram_mb: int
    ram_free_mb: int
    disk_gb: int
    disk_free_gb: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pulse:
    """Counts of what the caller's lists show now."""

    instances: dict[str, int]
    """Status to how many."""
    quotas: tuple[quotas.Usage, ...]
    """Of the caller's project, whatever the lists span."""
    hosts: tuple[HostLoad, ...] | None
    pools: tuple[lists.Row, ...] | None
    """Rows of the backends' listing."""
    operations: dict[str, int]
    """State to how many, of those that have not succeeded."""
    running: tuple[lists.Row, ...]
    failed: tuple[lists.Row, ...]
    """Rows of the operations' listing, the newest first."""
    faults: dict[tuple[str, str], int]
    """(kind, status) to how many, of images, volumes, snapshots and backups in trouble."""
    findings: int | None
    backups: int
    """Those that could be restored."""
    unproven: int
    """Of these, backups that no drill ever booted."""
    proven_at: int | None
    """When a drill last did, in microseconds since the epoch."""


def read(session: Session, ctx: Context) -> Pulse:
    """All of it, in one snapshot of the store. Raises Forbidden for who may not even list instances."""
    by_state = lists.tally(session, ctx, LISTINGS["instance"], ("vm_state", "task_state"))
    instances: dict[str, int] = {}
    for (vm_state, task_state), count in by_state.items():
        word = states.status(vm_state, task_state)
        instances[word] = instances.get(word, 0) + count
    limits = quotas.limits(session, ctx.project_id)
    usable = {"status": "available"}
    return Pulse(
        instances=instances,
        quotas=tuple(
            quotas.Usage(resource=name, limit=limits[name], used=quotas.used(session, ctx.project_id, name))
            for name in QUOTAS
        ),
        hosts=_hosts(session) if allowed(ctx, LISTINGS["host"].rule) else None,
        pools=tuple(lists.page(session, ctx, LISTINGS["backend"])) if allowed(ctx, LISTINGS["backend"].rule) else None,
        operations={state: _operations(session, ctx, state) for state in State if state is not State.SUCCEEDED},
        running=_newest(session, ctx, State.RUNNING),
        failed=_newest(session, ctx, State.FAILED),
        faults={
            (kind, status): count
            for kind in FAULTY
            for (status,), count in lists.tally(session, ctx, LISTINGS[kind], ("status",)).items()
            if status.startswith("error")
        },
        findings=lists.count(session, ctx, LISTINGS["finding"]) if allowed(ctx, LISTINGS["finding"].rule) else None,
        backups=lists.count(session, ctx, LISTINGS["backup"], where=usable),
        unproven=lists.count(session, ctx, LISTINGS["backup"], where={**usable, "proven": "false"}),
        proven_at=_proven(session, ctx),
    )


def _hosts(session: Session) -> tuple[HostLoad, ...]:
    columns: list[Any] = [
        col(getattr(Host, name))
        for name in (
            "id", "name", "state", "enabled", "vcpus", "load1", "ram_mb", "ram_free_mb", "disk_gb", "disk_free_gb",
        )
    ]  # fmt: skip
    rows = session.execute(select(*columns).order_by(col(Host.name), col(Host.id))).mappings()
    return tuple(HostLoad(up=row["state"] == "up", **{key: row[key] for key in row if key != "state"}) for row in rows)


def _operations(session: Session, ctx: Context, state: str) -> int:
    return lists.count(session, ctx, LISTINGS["operation"], where={"state": state})


def _newest(session: Session, ctx: Context, state: str) -> tuple[lists.Row, ...]:
    return tuple(lists.page(session, ctx, LISTINGS["operation"], where={"state": state}, limit=NEWEST))


def _proven(session: Session, ctx: Context) -> int | None:
    found = select(func.max(Backup.proven_at)).where(col(Backup.deleted_at) == 0)
    if not ctx.all_projects:
        found = found.where(col(Backup.project_id) == ctx.project_id)
    newest: int | None = session.execute(found).scalar_one()
    return newest
