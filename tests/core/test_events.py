"""Every mutation leaves its audit event in its own transaction, or neither."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from core.compute import flavors, keypairs
from core.compute.instances import verbs
from core.config import Config
from core.context import Context
from core.events import Event
from core.hosts import aggregates, hosts
from core.identity import projects, quotas
from core.images import images
from core.network import networks, subnets
from core.operations import operations
from tests.core.compute.test_keypairs import ED
from tests.core.world import World

Do = Callable[[Session, Context], Any]

CONFIG = Config(home=Path("/nonexistent"), database_url="sqlite:///nonexistent")

MUTATIONS: list[tuple[str, Do]] = [
    ("project.create", lambda s, c: projects.create(s, c, name="new")),
    ("project.set", lambda s, c: projects.update(s, c, "demo", description="x")),
    ("project.delete", lambda s, c: projects.delete(s, c, "demo")),
    ("quota.set", lambda s, c: quotas.update(s, c, c.project_id, c.project_name, {"cores": 3})),
    ("flavor.create", lambda s, c: flavors.create(s, c, name="f", ram_mb=1, disk_gb=1, vcpus=1)),
    ("flavor.set", lambda s, c: flavors.update(s, c, "m1.tiny", description="x")),
    ("flavor.delete", lambda s, c: flavors.delete(s, c, "m1.tiny")),
    ("keypair.create", lambda s, c: keypairs.create(s, c, name="new", public_key=f"ssh-ed25519 {ED}")),
    ("keypair.delete", lambda s, c: keypairs.delete(s, c, "k")),
    ("image.create", lambda s, c: images.create(s, c, name="new", disk_format="raw")),
    ("image.activate", lambda s, c: images.activate(s, c, "saving", digest="0" * 64, size=1, virtual_size=1)),
    ("image.kill", lambda s, c: images.kill(s, c, "saving", error="bad")),
    ("image.set", lambda s, c: images.update(s, c, "tiny", name="small")),
    ("image.delete", lambda s, c: images.delete(s, c, "tiny")),
    ("network.create", lambda s, c: networks.create(s, c, CONFIG, name="new")),
    ("network.delete", lambda s, c: networks.delete(s, c, "bare")),
    (
        "subnet.create",
        lambda s, c: subnets.create(
            s, c, name="n", network=networks.find(s, c, "bare").id, project_id=c.project_id, cidr="10.7.0.0/24"
        ),
    ),
    ("subnet.delete", lambda s, c: subnets.delete(s, c, "unused")),
    ("host.set", lambda s, c: hosts.update_host(s, c, "h1", enabled=False, disabled_reason="disks")),
    ("host.remove", lambda s, c: hosts.remove(s, c, "spare")),
    ("aggregate.create", lambda s, c: aggregates.create(s, c, name="new")),
    ("aggregate.add_host", lambda s, c: aggregates.add_host(s, c, "g", "h1")),
    ("aggregate.remove_host", lambda s, c: aggregates.remove_host(s, c, "g", "spare")),
    ("aggregate.delete", lambda s, c: aggregates.delete(s, c, "g")),
    ("instance.stop", lambda s, c: verbs.power(s, c, "web", "stop")),
    ("instance.delete", lambda s, c: verbs.delete(s, c, "web")),
    ("instance.lock", lambda s, c: verbs.lock(s, c, "web")),
    ("instance.unlock", lambda s, c: verbs.unlock(s, c, "web")),
    ("instance.rename", lambda s, c: verbs.rename(s, c, "web", "db")),
    ("instance.metadata", lambda s, c: verbs.set_properties(s, c, "web", {"a": "b"})),
    ("operation.cancel", lambda s, c: operations.cancel(s, c, operations.open_on(s, "o")[0].id)),
    ("operation.retry", lambda s, c: operations.retry(s, c, operations.open_on(s, "o")[0].id)),
]


@pytest.fixture
def full(world: World) -> World:
    world.host()
    world.image()
    world.settled()
    world.host("spare")
    with world.store.write() as session:
        keypairs.create(session, world.admin, name="k", public_key=f"ssh-ed25519 {ED}")
        networks.create(session, world.admin, world.config, name="bare")
        other = networks.create(session, world.admin, world.config, name="other")
        subnets.create(
            session, world.admin, name="unused", network=other.id, project_id=other.project_id, cidr="10.8.0.0/24"
        )
        images.begin(session, world.admin, images.create(session, world.admin, name="saving", disk_format="raw").id)
        aggregates.create(session, world.admin, name="g")
        aggregates.add_host(session, world.admin, "g", "spare")
        operations.enqueue(
            session, world.admin, "instance.stop",
            object_kind="instance", object_id="o", object_name="o", project_id=world.admin.project_id,
        )  # fmt: skip
    return world


class Broken(Exception):
    pass


@pytest.mark.parametrize(("action", "mutate"), MUTATIONS, ids=[action for action, _ in MUTATIONS])
def test_event(full: World, action: str, mutate: Do) -> None:
    last = max(event.id for event in full.events())

    def mutate_and_break(session: Session) -> None:
        mutate(session, full.admin)
        raise Broken

    with pytest.raises(Broken), full.store.write() as session:
        mutate_and_break(session)
    assert max(event.id for event in full.events()) == last, "an undone mutation leaves no event"
    with full.store.write() as session:
        mutate(session, full.admin)
    fresh: list[Event] = [event for event in full.events() if event.id > last]
    assert [event.action for event in fresh] == [action]
    (event,) = fresh
    assert event.at > 0
    assert (event.user_name, event.source, event.request_id) == ("admin", "cli", full.admin.request_id)
    assert event.object_id
    assert event.object_name


def test_an_update_tells_before_and_after(full: World) -> None:
    with full.store.write() as session:
        projects.update(session, full.admin, "demo", description="x", enabled=False)
        hosts.update_host(session, full.admin, "h1", ratios={"cpu": 2.0}, reserved={"ram_mb": 1024})
    (event,) = full.events("project.set")
    assert event.before == {"description": "For trying things", "enabled": True}
    assert event.after == {"description": "x", "enabled": False}
    (event,) = full.events("host.set")
    assert event.before == {"cpu_ratio": 4.0, "ram_reserved_mb": 512}
    assert event.after == {"cpu_ratio": 2.0, "ram_reserved_mb": 1024}


def test_ids_grow_and_are_never_used_again(full: World) -> None:
    last = max(event.id for event in full.events())
    with full.store.write() as session:
        session.delete(session.get(Event, last))
    with full.store.write() as session:
        networks.create(session, full.admin, full.config, name="n")
    assert max(event.id for event in full.events()) > last


def test_a_project_that_once_owned_things_can_go(full: World) -> None:
    me = full.someone("member", project="brief")
    mine = full.settled(me, name="mine")
    image = full.image("theirs", ctx=me, data=b"3")
    full.change(mine.id, deleted_at=1, host_id=None)
    with full.store.write() as session:
        images.delete(session, full.admin, image.id)
        from core.network import ports

        ports.release(session, mine.id)
        networks.delete(session, me, "default")
        projects.delete(session, full.admin, "brief")
    with full.store.write() as session, pytest.raises(Exception, match="no project"):
        projects.find(session, full.admin, "brief")
