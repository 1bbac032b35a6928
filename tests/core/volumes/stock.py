"""Places to keep volumes in, without a host that looks at them: a test says what is seen. And short words for verbs."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.context import Context
from core.operations.operations import Operation
from core.sql import select
from core.volumes import attachments, backends, snapshots, types, volumes
from core.volumes.tables import Backend, BackendHost, Snapshot, Volume
from tests.core.world import GIB, World

ABLE = ["changed", "clone", "live_snapshot", "revert", "snapshot", "thin"]


class Stock:
    """Of one world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def seen(self, backend: str, host_id: str, *, total: int = 1000, free: int = 1000, **seen: Any) -> None:
        """A host has looked: sizes in GiB."""
        with self.world.store.write() as session:
            row = {"reachable": True, "capabilities": ABLE, **seen}
            session.merge(
                BackendHost(
                    backend_id=self.backend(session, backend).id,
                    host_id=host_id,
                    total_bytes=total * GIB,
                    free_bytes=free * GIB,
                    seen_at=self.world.store.clock.now(),
                    **row,
                )
            )

    def backend(self, session: Session, name: str) -> Backend:
        return session.execute(select(Backend).where(col(Backend.name) == name)).scalar_one()

    def add(self, name: str, driver: str = "nfs", *, hosts: tuple[str, ...] = (), **fields: Any) -> str:
        """A backend that these hosts (ids) reach, and a type of its name; its id."""
        with self.world.store.write() as session:
            id = backends.create(session, self.world.admin, name=name, driver=driver, **fields).id
            types.create(session, self.world.admin, name=name, extra_specs={"volume_backend_name": name})
        for host in hosts:
            self.seen(name, host)
        return id

    # ------------------------------------------------------------------ verbs

    def create(self, ctx: Context | None = None, **asked: Any) -> tuple[Volume, Operation]:
        asked = {"name": "data", **asked}
        if not {"image", "snapshot", "source"} & asked.keys():
            asked.setdefault("size_gb", 1)
        with self.world.store.write() as session:
            return volumes.create(session, ctx or self.world.admin, self.world.config, **asked)

    def made(self, ctx: Context | None = None, **asked: Any) -> Volume:
        """One whose create is over."""
        volume, operation = self.create(ctx, **asked)
        with self.world.store.write() as session:
            row = session.get_one(Operation, operation.seq)
            row.state, row.ended_at = "succeeded", row.created_at
        return self.put(volume.id, status="available")

    def snapshot(self, volume: Volume, *, status: str = "available", **asked: Any) -> Snapshot:
        """One whose create is over."""
        with self.world.store.write() as session:
            taken, operation = snapshots.create(session, self.world.admin, volume=volume.id, **asked)
            row = session.get_one(Operation, operation.seq)
            row.state, row.ended_at, taken.status = "succeeded", row.created_at, status
            return taken

    def put(self, id: str, **changes: Any) -> Volume:
        """A volume into a state, past all rules."""
        with self.world.store.write() as session:
            volume = session.get_one(Volume, id)
            for key, value in changes.items():
                setattr(volume, key, value)
            return volume

    def volume(self, id: str) -> Volume:
        with self.world.store.read() as session:
            return session.get_one(Volume, id)

    def attach(self, volume: Volume, instance_id: str) -> None:
        """A guest has it."""
        with self.world.store.write() as session:
            row = session.get_one(Volume, volume.id)
            held = attachments.reserve(session, session.get_one(Instance, instance_id), row)
            attachments.finish_attach(session, held)

    def detach(self, volume: Volume) -> None:
        with self.world.store.write() as session:
            for held in attachments.of_volume(session, volume.id):
                attachments.begin_detaching(session, held)
                attachments.release(session, held)
