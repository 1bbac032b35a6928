"""What keeps a volume where it is: somebody reads or changes what it stands on, and counts on nobody else taking it
somewhere else meanwhile."""

from __future__ import annotations

from typing import Final

from sqlmodel import Session, col

from core.errors import Conflict
from core.sql import select
from core.volumes.tables import Snapshot, Volume

BEING_MADE: Final = ("creating", "downloading")

_MOVING: Final = ("creating", "deleting", "restoring", "backing-up")
"""Snapshots on their way in or out."""


def check(session: Session, volume: Volume) -> None:
    """Raises Conflict while a snapshot of the volume is being made or deleted."""
    query = select(Snapshot.name, Snapshot.id, Snapshot.status, Snapshot.hidden).where(
        col(Snapshot.volume_id) == volume.id, col(Snapshot.deleted_at) == 0, col(Snapshot.status).in_(_MOVING)
    )
    found = session.execute(query.limit(1)).first()
    if found is not None:
        what = "a snapshot for a copy" if found.hidden else f"snapshot {found.name or found.id}"
        raise Conflict(f"{what} of volume {volume.name or volume.id} is {found.status}", hint="Wait for it.")


def check_not_copied(session: Session, source_id: str, what: str) -> None:
    """Raises Conflict while a volume is being made from this volume or snapshot."""
    query = select(Volume.name, Volume.id).where(
        col(Volume.source_id) == source_id, col(Volume.deleted_at) == 0, col(Volume.status).in_(BEING_MADE)
    )
    found = session.execute(query.limit(1)).first()
    if found is not None:
        raise Conflict(f"{what} is being copied to volume {found.name or found.id}", hint="Wait for it.")
