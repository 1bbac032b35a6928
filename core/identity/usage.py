"""What projects use of their quotas, many projects at once: for lists, which have no time to count one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func
from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.identity import quotas
from core.identity.quotas import Quota
from core.identity.users import Assignment
from core.sql import select
from core.volumes.tables import Snapshot, Volume

SHOWN = ("instances", "cores", "ram", "gigabytes")

_AT_ONCE = 500
"""Values of one IN list: databases limit them."""


def of_projects(session: Session, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Project id to {resource: (used, limit), …} of SHOWN, and `users`, how many have a role in it."""
    found = {id: {**dict.fromkeys(SHOWN, 0), "users": 0} for id in ids}
    limits = {id: {what: quotas.DEFAULTS[what] for what in SHOWN} for id in ids}
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        live = col(Instance.project_id).in_(some), col(Instance.deleted_at) == 0
        numbers = func.count(), func.sum(Instance.vcpus), func.sum(Instance.ram_mb)
        for id, count, cores, ram in session.execute(
            select(Instance.project_id, *numbers).where(*live).group_by(col(Instance.project_id))
        ):
            found[id] |= {"instances": count, "cores": cores, "ram": ram}
        for id, size in session.execute(_sizes(Volume, some)):
            found[id]["gigabytes"] += size
        for id, size in session.execute(_sizes(Snapshot, some, ~col(Snapshot.hidden))):
            found[id]["gigabytes"] += size
        people = func.count(func.distinct(Assignment.user_id))
        for id, count in session.execute(
            select(Assignment.project_id, people)
            .where(col(Assignment.project_id).in_(some))
            .group_by(col(Assignment.project_id))
        ):
            found[id]["users"] = count
        _limit(session, some, limits)
    return {
        id: {what: (use[what], limits[id][what]) for what in SHOWN} | {"users": use["users"]}
        for id, use in found.items()
    }


def _sizes(table: Any, ids: Sequence[str], *where: Any) -> Select[Any]:
    live = col(table.project_id).in_(ids), col(table.deleted_at) == 0
    return select(table.project_id, func.sum(table.size_gb)).where(*live, *where).group_by(col(table.project_id))


def _limit(session: Session, ids: Sequence[str], limits: dict[str, dict[str, int]]) -> None:
    """A project's own limit wins over that of the default class, which wins over the numbers in the code."""
    rows = session.execute(
        select(Quota.project_id, Quota.resource, Quota.limit).where(
            col(Quota.project_id).in_([*ids, quotas.DEFAULT_CLASS]), col(Quota.resource).in_(SHOWN)
        )
    ).all()
    for owner, what, limit in rows:
        if owner == quotas.DEFAULT_CLASS:
            for id in ids:
                limits[id][what] = limit
    for owner, what, limit in rows:
        if owner in limits:
            limits[owner][what] = limit
