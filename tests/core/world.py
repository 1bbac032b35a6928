"""A small cloud for tests: its store, the people in it, hosts with room, an image to boot from."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from sqlmodel import Session, col

from core import cloud
from core.compute.instances import create, verbs
from core.compute.instances.create import Created, CreateSpec
from core.compute.instances.table import Instance
from core.config import Config
from core.context import Context
from core.events import Event
from core.hosts import hosts
from core.hosts.hosts import Claim, Host
from core.identity.projects import Project
from core.identity.users import Assignment, User
from core.images import images
from core.images.images import Image
from core.operations.operations import Operation
from core.sql import select
from core.store import Store

MIB = 1 << 20
GIB = 1 << 30


class World:
    """The cloud under test. `admin` works in the project admin, others where `someone` puts them."""

    def __init__(self, config: Config, store: Store) -> None:
        self.config = config
        self.store = store
        with store.read() as session:
            self.admin = cloud.context(session, config, source="cli")

    def someone(self, role: str = "member", *, project: str = "demo", name: str | None = None) -> Context:
        """A user who holds one role in one project (made when it is missing)."""
        name = name or f"{role}-of-{project}"
        with self.store.write() as session:
            place = session.execute(select(Project).where(col(Project.name) == project)).scalar_one_or_none()
            if place is None:
                place = Project(id=self.store.clock.hex(), name=project)
                session.add(place)
            user = session.execute(select(User).where(col(User.name) == name)).scalar_one_or_none()
            if user is None:
                user = User(id=self.store.clock.hex(), name=name)
                session.add(user)
            session.flush()
            session.merge(Assignment(user_id=user.id, project_id=place.id, role=role))
            return Context(
                user_id=user.id,
                user_name=name,
                project_id=place.id,
                project_name=project,
                roles=frozenset({role}),
            )

    def host(
        self,
        name: str = "h1",
        *,
        vcpus: int = 8,
        ram_mb: int = 32768 + 512,
        disk_gb: int = 400,
        zone: str = "nova",
        up: bool = True,
        **changes: Any,
    ) -> str:
        """An enrolled host with room; its id."""
        with self.store.write() as session:
            host_id = changes.pop("id", None) or self.store.clock.uuid()
            host = hosts.enroll(
                session, self.admin, self.config,
                id=host_id, name=name, address=f"{name}.example", port=22, ssh_user="root", host_key="",
                socket="", availability_zone=zone,
            )  # fmt: skip
            host.vcpus, host.ram_mb, host.disk_gb = vcpus, ram_mb, disk_gb
            if up:
                host.state, host.state_reason = "up", ""
            for key, value in changes.items():
                setattr(host, key, value)
            host.refresh_caps()
            return host_id

    def image(self, name: str = "tiny", *, data: bytes = b"bytes", ctx: Context | None = None, **fields: Any) -> Image:
        """An active image."""
        ctx = ctx or self.admin
        fields = {"disk_format": "qcow2", "visibility": "public", **fields}
        with self.store.write() as session:
            image = images.create(session, self.admin, name=name, **fields)
            image.project_id = ctx.project_id
            session.flush()
            images.begin(session, self.admin, image.id)
            digest = hashlib.sha256(data).hexdigest()
            return images.activate(session, self.admin, image.id, digest=digest, size=len(data), virtual_size=64 * MIB)

    def create(self, ctx: Context | None = None, **spec: Any) -> Created:
        asked = CreateSpec(**{"name": "web", "flavor": "m1.tiny", "image": "tiny", **spec})
        return create.create(self.store, self.config, ctx or self.admin, asked)

    def one(self, ctx: Context | None = None, **spec: Any) -> Instance:
        """One instance, as the database has it after its create was accepted."""
        return self.create(ctx, **spec).instances[0]

    def settled(self, ctx: Context | None = None, *, vm_state: str = "active", **spec: Any) -> Instance:
        """One instance whose create is over: in `vm_state`, with no operation open."""
        created = self.create(ctx, **spec)
        with self.store.write() as session:
            instance = session.get(Instance, created.instances[0].id)
            assert instance is not None
            instance.vm_state, instance.task_state = vm_state, None
            instance.launched_at = instance.created_at
            for operation in created.operations:
                row = session.get(Operation, operation.seq)
                assert row is not None
                row.state, row.ended_at = "succeeded", row.created_at
            return instance

    def change(self, id: str, **changes: Any) -> Instance:
        """Put an instance into a state, past all rules."""
        with self.store.write() as session:
            instance = session.get(Instance, id)
            assert instance is not None
            for key, value in changes.items():
                setattr(instance, key, value)
            return instance

    def instance(self, id_or_name: str) -> Instance:
        with self.store.read() as session:
            return session.execute(
                select(Instance).where((col(Instance.id) == id_or_name) | (col(Instance.name) == id_or_name))
            ).scalar_one()

    def last_instance(self) -> Instance:
        """The one made last, deleted or not."""
        with self.store.read() as session:
            return session.execute(select(Instance).order_by(col(Instance.created_at).desc()).limit(1)).scalar_one()

    def live(self) -> list[Instance]:
        return [row for row in self.rows(Instance) if not row.deleted_at]

    def power(self, verb: str, id_or_name: str = "web", ctx: Context | None = None) -> Operation:
        with self.store.write() as session:
            return verbs.power(session, ctx or self.admin, id_or_name, verb)

    def delete(self, id_or_name: str = "web", ctx: Context | None = None) -> Operation:
        with self.store.write() as session:
            return verbs.delete(session, ctx or self.admin, id_or_name)

    def operation(self, id: str) -> Operation:
        with self.store.read() as session:
            return session.execute(select(Operation).where(col(Operation.id) == id)).scalar_one()

    def operations(self) -> list[Operation]:
        return self.rows(Operation, Operation.seq)

    def events(self, action: str | None = None) -> list[Event]:
        return [event for event in self.rows(Event, Event.id) if action in (None, event.action)]

    def rows(self, table: Any, order: Any = None) -> list[Any]:
        with self.store.read() as session:
            query = select(table)
            return list(session.execute(query if order is None else query.order_by(order)).scalars())

    def check_claims(self) -> None:
        """Invariants 4 and 5: a claim exactly while an instance is placed; a host's used is the sum of its claims."""
        with self.store.read() as session:
            check_claims(session)


def check_claims(session: Session) -> None:
    placed = {
        (row.id, row.host_id): row.needs
        for row in session.execute(select(Instance).where(col(Instance.deleted_at) == 0)).scalars()
        if row.host_id is not None
    }
    claims = list(session.execute(select(Claim)).scalars())
    claimed = {
        (claim.instance_id, claim.host_id): {"vcpus": claim.vcpus, "ram_mb": claim.ram_mb, "disk_gb": claim.disk_gb}
        for claim in claims
    }
    assert claimed == placed
    for host in session.execute(select(Host)).scalars():
        for resource in hosts.RESOURCES:
            used = sum(getattr(claim, resource) for claim in claims if claim.host_id == host.id)
            assert getattr(host, f"{resource}_used") == used <= host.limit(resource)


def as_role(ctx: Context, *roles: str, **changes: Any) -> Context:
    return dataclasses.replace(ctx, roles=frozenset(roles), **changes)
