"""Which host acts for a volume: the one its guest is on, the one that holds it, or any that reaches it."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func
from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.errors import Unavailable
from core.hosts.table import Host
from core.operations.operations import OPEN, Operation
from core.sql import select
from core.volumes.tables import Backend, BackendHost, Volume, VolumeAttachment


def reach(session: Session, backend_id: str) -> set[str]:
    """Ids of the hosts that are up and reach a backend."""
    backend = session.get_one(Backend, backend_id)
    query = (
        select(BackendHost.host_id)
        .join(Host, col(Host.id) == col(BackendHost.host_id))
        .where(col(BackendHost.backend_id) == backend_id, col(BackendHost.reachable), col(Host.state) == "up")
    )
    found = set(session.execute(query).scalars())
    return found if backend.hosts is None else found & set(backend.hosts)


def _keepers(session: Session, backend_id: str) -> set[str]:
    """Of the hosts that reach a backend, those that can do more than open its volumes: they know its room."""
    query = select(BackendHost.host_id).where(
        col(BackendHost.backend_id) == backend_id, col(BackendHost.total_bytes) > 0
    )
    return reach(session, backend_id) & set(session.execute(query).scalars())


def actor(session: Session, volume: Volume) -> str:
    """The host that acts for a volume now. Raises Unavailable when no host that is up reaches its backend."""
    query = (
        select(Instance.host_id)
        .join(VolumeAttachment, col(VolumeAttachment.instance_id) == col(Instance.id))
        .where(
            col(VolumeAttachment.volume_id) == volume.id,
            col(VolumeAttachment.detached_at) == 0,
            col(Instance.host_id).is_not(None),
        )
        .order_by(col(VolumeAttachment.number), col(VolumeAttachment.id))
    )
    guest_on: str | None = session.execute(query.limit(1)).scalar_one_or_none()
    return guest_on or volume.host_id or choose_actor(session, [volume.backend_id])


def choose_actor(session: Session, backend_ids: Collection[str]) -> str:
    """The least busy of the hosts that are up and keep all these backends. Raises Unavailable when there is none."""
    found = set.intersection(*(_keepers(session, one) for one in backend_ids))
    if not found:
        names = session.execute(select(Backend.name).where(col(Backend.id).in_(backend_ids))).scalars()
        raise Unavailable(
            f"no host reaches {' and '.join(sorted(names))} now",
            hint="skydeck storage backend list tells what each host says of it.",
        )
    busy = (
        select(Operation.lane, func.count())
        .where(col(Operation.lane).in_(found), col(Operation.state).in_(OPEN))
        .group_by(col(Operation.lane))
    )
    work: dict[str, int] = dict(session.execute(busy).all())
    names_of = dict(session.execute(select(Host.id, Host.name).where(col(Host.id).in_(found))).all())
    return min(found, key=lambda id: (work.get(id, 0), names_of[id]))
