"""How much of the volumes' quotas a project uses, over all types and of each (cinder's `volumes_<type>` and the like).

Snapshots count in gigabytes, as large as their volume was; what a backup keeps for itself (hidden ones) counts nowhere.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col

from core.context import Context
from core.errors import QuotaExceeded
from core.identity import quotas
from core.sql import select
from core.volumes.tables import Backup, Snapshot, Volume, VolumeType

PER_TYPE = ("volumes", "gigabytes", "snapshots")
"""Quotas that exist for each type as well."""


def check(session: Session, ctx: Context, project_id: str, *, type: VolumeType | None, **wanted: int) -> None:
    """Raise QuotaExceeded unless the project may take this much more, of the type and in all. As `quotas.check`."""
    asking = (
        ctx
        if ctx.project_id == project_id
        else dataclasses.replace(ctx, project_id=project_id, project_name=project_id)
    )
    of_type = {} if type is None else {f"{what}_{type.name}": n for what, n in wanted.items() if what in PER_TYPE}
    quotas.check(session, asking, **wanted, **of_type)


def check_size(session: Session, project_id: str, size_gb: int) -> None:
    """Raise QuotaExceeded for a volume larger than any may be."""
    most = quotas.limits(session, project_id)["per_volume_gigabytes"]
    if most != quotas.UNLIMITED and size_gb > most:
        raise QuotaExceeded(f"a volume has at most {most} GiB, {size_gb} are wanted", hint="Choose a smaller size.")


def volumes(project_id: str, *, type_id: str | None = None) -> Any:
    return _of_type(select(func.count()).where(*_live(Volume, project_id)), type_id)


def snapshots(project_id: str, *, type_id: str | None = None) -> Any:
    query = select(func.count()).where(*_live(Snapshot, project_id), ~col(Snapshot.hidden))
    return query if type_id is None else _of_type(query.where(col(Volume.id) == col(Snapshot.volume_id)), type_id)


def gigabytes(project_id: str, *, type_id: str | None = None) -> Any:
    """Of volumes and of snapshots."""
    of_volumes = _of_type(select(func.coalesce(func.sum(Volume.size_gb), 0)).where(*_live(Volume, project_id)), type_id)
    of_snapshots = select(func.coalesce(func.sum(Snapshot.size_gb), 0)).where(
        *_live(Snapshot, project_id), ~col(Snapshot.hidden)
    )
    if type_id is not None:
        of_snapshots = _of_type(of_snapshots.where(col(Volume.id) == col(Snapshot.volume_id)), type_id)
    return select(of_volumes.scalar_subquery() + of_snapshots.scalar_subquery())


@quotas.counts("backups")
def backups(project_id: str) -> Any:
    return select(func.count()).where(*_live(Backup, project_id))


@quotas.counts("backup_gigabytes")
def backup_gigabytes(project_id: str) -> Any:
    return select(func.coalesce(func.sum(Backup.size_gb), 0)).where(*_live(Backup, project_id))


_COUNTERS = {"volumes": volumes, "gigabytes": gigabytes, "snapshots": snapshots}

for resource in PER_TYPE:
    quotas.counts(resource)(_COUNTERS[resource])


@quotas.family
def _of_types(session: Session) -> dict[str, quotas.Counter]:
    types = session.execute(select(VolumeType.id, VolumeType.name)).all()
    return {
        f"{what}_{name}": functools.partial(_COUNTERS[what], type_id=type_id)
        for type_id, name in types
        for what in PER_TYPE
    }


def _live(table: Any, project_id: str) -> tuple[Any, Any]:
    return col(table.project_id) == project_id, col(table.deleted_at) == 0


def _of_type(query: Any, type_id: str | None) -> Any:
    return query if type_id is None else query.where(col(Volume.type_id) == type_id)
