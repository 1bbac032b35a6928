"""When what was asked of the networking is so: objects turn ACTIVE as the hosts that carry them confirm."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, update
from sqlmodel import Session, col

from core.hosts.hosts import Host
from core.network.fabric.table import HostNetworking, NetworkingPending
from core.network.tables import GUEST, FloatingIP, Port, Router
from core.sql import select


def confirm(session: Session, host_id: str, generation: int, digest: str) -> None:
    """The host has this generation of its document; what waited for it goes on."""
    row = session.get(HostNetworking, host_id, populate_existing=True)
    if row is None or row.applied > generation:
        return
    row.applied, row.digest, row.error = generation, digest, None
    session.flush()
    here = (col(NetworkingPending.host_id) == host_id, col(NetworkingPending.generation) <= generation)
    waiting = set(session.execute(select(NetworkingPending.object_id).where(*here)).scalars())
    session.execute(delete(NetworkingPending).where(*here))
    settle(session, waiting)


def host_gone(session: Session, host_id: str) -> None:
    """A dead host delays nobody: what waited for it alone is ACTIVE, and shown as pending there."""
    waiting = select(NetworkingPending.object_id).where(col(NetworkingPending.host_id) == host_id)
    settle(session, set(session.execute(waiting).scalars()))


def settle(session: Session, objects: Iterable[str]) -> None:
    """ACTIVE, for those of these objects that no living host still has to hear of."""
    ids = set(objects)
    if not ids:
        return
    waiting = select(NetworkingPending.object_id).where(
        col(NetworkingPending.object_id).in_(ids),
        col(Host.id) == col(NetworkingPending.host_id),
        col(Host.state) == "up",
    )
    ready = ids - set(session.execute(waiting).scalars())
    if not ready:
        return
    bound = ~col(Port.device_owner).startswith(GUEST) | col(Port.host_id).is_not(None)
    session.execute(
        update(Port)
        .where(col(Port.id).in_(ready), bound, col(Port.admin_state_up), col(Port.status) != "ACTIVE")
        .values(status="ACTIVE")
    )
    session.execute(
        update(FloatingIP)
        .where(col(FloatingIP.id).in_(ready), col(FloatingIP.port_id).is_not(None))
        .values(status="ACTIVE")
    )
    session.execute(update(Router).where(col(Router.id).in_(ready)).values(status="ACTIVE"))


def pending_on(session: Session, object_id: str) -> list[str]:
    """Names of the hosts that have not confirmed this object yet."""
    query = (
        select(Host.name)
        .where(col(NetworkingPending.object_id) == object_id, col(Host.id) == col(NetworkingPending.host_id))
        .order_by(col(Host.name))
    )
    return list(session.execute(query).scalars())
