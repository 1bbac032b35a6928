"""What is acted on is what was seen, in the very transaction that acts; a store that only looks refuses to write."""

from __future__ import annotations

import pytest

from core import expected, listing
from core.compute.instances import verbs
from core.errors import Conflict, Forbidden, NotFound
from core.lists import LISTINGS
from core.operations.operations import Operation
from core.sql import select
from tests.core.world import World


def test_every_column_that_decides_exists(world: World) -> None:
    for kind, columns in expected.MATTERS.items():
        known = {*LISTINGS[kind].columns, "ip", "attachments", "security_group_ids"}
        assert {*columns} - {"state", "enabled", "host"} <= known, kind


def test_a_changed_object_is_not_acted_on(world: World) -> None:
    world.host()
    world.image()
    server = world.settled(name="web")
    with world.store.read() as session:
        [row] = listing.page(session, world.admin, LISTINGS["instance"])
    with world.store.write() as session:
        expected.check(session, world.admin, LISTINGS["instance"], row)  # nothing changed
        expected.check(session, world.admin, LISTINGS["instance"], {"id": server.id, "name": "web"})
    world.change(server.id, vm_state="stopped")
    changed = pytest.raises(Conflict, match="web changed since you looked: status ACTIVE → SHUTOFF")
    with changed, world.store.write() as session:
        verbs.delete(session, world.admin, server.id)
        expected.check(session, world.admin, LISTINGS["instance"], row)  # the whole transaction goes with it
    with world.store.read() as session:
        assert "instance.delete" not in session.execute(select(Operation.kind)).scalars().all()
    world.change(server.id, vm_state="active", task_state="powering-off", updated_at=1)
    with world.store.write() as session:
        expected.check(session, world.admin, LISTINGS["instance"], row)  # figures that move decide nothing
    world.change(server.id, deleted_at=1)
    with pytest.raises(NotFound, match="web is gone"), world.store.write() as session:
        expected.check(session, world.admin, LISTINGS["instance"], row)


def test_a_store_that_only_looks(world: World) -> None:
    world.store.read_only = "this is read-only mode"
    with pytest.raises(Forbidden, match="read-only"), world.store.write():
        raise AssertionError("not reached")
    with world.store.write(ticket=True) as session:
        assert session is not None
    with world.store.read() as session:
        assert session is not None
