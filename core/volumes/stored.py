"""What backends hold against what the database says they hold, as their hosts saw it last.

What has changed since the host looked, or was worked on since, is not compared: the look is older than it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sqlmodel import Session, col

from core.hosts.table import Host
from core.operations import operations
from core.sql import select
from core.volumes.tables import Backend, BackendHost, Volume

_NOT_THERE: Final = ("creating", "error", "error_managing", "managing", "deleting", "error_deleting")
"""Volumes that may be there or not."""


class Stranger(NamedTuple):
    """A volume that a backend has, and should not have. It is kept: nothing is deleted that was not asked for."""

    uuid: str
    why: str
    allocated: int
    """Bytes it takes."""


class Stored(NamedTuple):
    """What one look at a backend found."""

    backend: Backend
    seen: BackendHost
    missing: tuple[Volume, ...]
    unknown: tuple[Stranger, ...]


def compare(session: Session, *, host_id: str | None = None) -> list[Stored]:
    """Every pool that was reached when it was last looked at; only those that this host speaks for, when one is given.
    For a shared pool the host that saw it last speaks."""
    query = (
        select(BackendHost, Backend)
        .join(Backend, col(Backend.id) == col(BackendHost.backend_id))
        .join(Host, col(Host.id) == col(BackendHost.host_id))
        # Who knows of no room only opens what another keeps (an initiator of iSCSI), and does not see what is there.
        .where(col(BackendHost.reachable), col(BackendHost.total_bytes) > 0, col(Host.state) == "up")
        .order_by(col(BackendHost.seen_at).desc(), col(BackendHost.host_id))
    )
    found, spoken_for = [], set()
    for seen, backend in session.execute(query.execution_options(populate_existing=True)).all():
        if backend.shared and backend.id in spoken_for:
            continue
        spoken_for.add(backend.id)
        if host_id in (None, seen.host_id):
            found.append(
                Stored(backend, seen, tuple(_missing(session, backend, seen)), tuple(_unknown(session, backend, seen)))
            )
    return found


def _missing(session: Session, backend: Backend, seen: BackendHost) -> list[Volume]:
    there = {str(one["uuid"]) for one in seen.volumes}
    query = select(Volume).where(
        col(Volume.backend_id) == backend.id,
        col(Volume.deleted_at) == 0,
        col(Volume.updated_at) < seen.seen_at,
        col(Volume.status).not_in(_NOT_THERE),
    )
    if not backend.shared:
        query = query.where(col(Volume.host_id) == seen.host_id)
    rows = session.execute(query.execution_options(populate_existing=True)).scalars()
    return [row for row in rows if row.id not in there and not _at_work(session, row.id, seen)]


def _unknown(session: Session, backend: Backend, seen: BackendHost) -> list[Stranger]:
    found = []
    for one in seen.volumes:
        why = _strange(session, backend, seen, one)
        if why is not None and not _at_work(session, str(one["uuid"]), seen):
            found.append(Stranger(str(one["uuid"]), why, int(one.get("allocated", 0))))
    return found


def _strange(session: Session, backend: Backend, seen: BackendHost, one: dict[str, Any]) -> str | None:
    """Why a volume should not be there; None when it may."""
    row = session.get(Volume, str(one["uuid"]), populate_existing=True)
    if row is None:
        return "no volume of that id is known"
    if row.updated_at >= seen.seen_at:
        return None
    if row.deleted_at:
        return "it was deleted"
    if row.backend_id != backend.id:
        return "it is kept on another backend"
    if not backend.shared and row.host_id != seen.host_id:
        return "it is kept on another host"
    return None


def _at_work(session: Session, volume_id: str, seen: BackendHost) -> bool:
    return operations.at_work(session, volume_id, since=seen.seen_at)
