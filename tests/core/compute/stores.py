"""Volumes and the backends that hold them, put into a world past all verbs."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col

from core.context import Context
from core.sql import select
from core.store import now
from core.volumes import attachments
from core.volumes.tables import Backend, BackendHost, Volume, VolumeAttachment, VolumeType
from tests.core.world import GIB, World


def reaches(world: World, host_id: str, *, backend: str = "local", reachable: bool = True, free_gb: int = 100) -> None:
    """The host has looked at the backend, and said this of it."""
    with world.store.write() as session:
        row = _backend(session, backend)
        session.merge(
            BackendHost(
                backend_id=row.id,
                host_id=host_id,
                reachable=reachable,
                total_bytes=100 * GIB,
                free_bytes=free_gb * GIB,
                capabilities=["snapshot", "live_snapshot", "revert", "clone", "thin"],
                seen_at=now(session),
            )
        )


def shared(world: World, name: str = "ceph", driver: str = "rbd") -> str:
    """A backend that several hosts reach; the id."""
    with world.store.write() as session:
        row = Backend(id=world.store.clock.uuid(), name=name, driver=driver, created_at=now(session))
        session.add(row)
        return row.id


def volume(
    world: World, name: str = "data", *, host: str | None = None, backend: str = "local", ctx: Context | None = None,
    **fields: Any,
) -> str:  # fmt: skip
    """A volume of 1 GiB that is there and available; the id."""
    ctx = ctx or world.admin
    with world.store.write() as session:
        type = session.execute(select(VolumeType).where(col(VolumeType.is_default))).scalar_one()
        row = Volume(
            **{
                "id": world.store.clock.uuid(),
                "name": name,
                "project_id": ctx.project_id,
                "user_id": ctx.user_id,
                "size_gb": 1,
                "status": "available",
                "type_id": type.id,
                "backend_id": _backend(session, backend).id,
                "host_id": host,
                "created_at": now(session),
                "updated_at": now(session),
                **fields,
            }
        )
        session.add(row)
        return row.id


def status(world: World, volume_id: str) -> str:
    with world.store.read() as session:
        return session.get_one(Volume, volume_id).status


def attached(world: World, volume_id: str) -> list[VolumeAttachment]:
    with world.store.read() as session:
        return attachments.of_volume(session, volume_id)


def _backend(session: Session, name: str) -> Backend:
    return session.execute(select(Backend).where(col(Backend.name) == name)).scalar_one()
