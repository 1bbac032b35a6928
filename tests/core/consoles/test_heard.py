"""What guests tell becomes events of theirs, a bounded number; which ways lead to a guest."""

from __future__ import annotations

import dataclasses

import pytest

from core.compute.instances.table import Instance
from core.consoles import heard, ways
from core.errors import Conflict, Forbidden
from tests.core.world import World


@pytest.fixture
def web(world: World) -> Instance:
    world.image(properties={"os_admin_user": "ops"})
    world.host()
    return world.settled()


def take(world: World, host: str | None, uuid: str, **detail: object) -> bool:
    with world.store.write() as session:
        return heard.take(session, str(host), uuid, {"pattern": "panic", "line": "x" * 999, "times": 3, **detail})


def test_a_guest_is_heard_by_its_own_host_and_no_more_often_than_that(world: World, web: Instance) -> None:
    with world.store.read() as session:
        before = heard.newest(session)
    assert take(world, web.host_id, web.id)
    assert not take(world, "another", web.id)
    assert not take(world, web.host_id, "nobody")
    assert not take(world, web.host_id, web.id, pattern="of a newer host")
    for _ in range(30):
        take(world, web.host_id, web.id)
    assert take(world, web.host_id, web.id, pattern="oom")
    panics = world.events("instance.console_panic")
    assert len(panics) == heard.MOST
    assert panics[0].after == {"line": "x" * heard.LONGEST, "times": 3}
    assert (panics[0].object_id, panics[0].source) == (web.id, "serve")
    with world.store.read() as session:
        mine = heard.since(session, world.admin, before, limit=5)
        assert [event.action for event in mine] == ["instance.console_panic"] * 5
        other = world.someone("member")
    with world.store.read() as session:
        assert heard.since(session, other, before) == []
        assert len(heard.since(session, dataclasses.replace(other, all_projects=True), before)) == heard.MOST + 1


def test_ways_into_a_guest(world: World, web: Instance) -> None:
    def found() -> ways.Target:
        with world.store.read() as session:
            return ways.find(session, world.admin, "web")

    target = found()
    assert [way.kind for way in target.ways] == [ways.Kind.INSIDE]
    for told, user in (
        ({"os_admin_user": "ops"}, "ops"),
        ({"os_distro": "Ubuntu"}, "ubuntu"),
        ({"os_distro": "plan9"}, ""),
        ({"os_admin_user": "-oProxyCommand=x"}, ""),
        ({"os_admin_user": "a b"}, ""),
        ({"os_admin_user": "svc-admin.1"}, "svc-admin.1"),
    ):
        world.change(web.id, image_properties=told)
        assert found().user == user, told
    world.change(web.id, vm_state="stopped")
    with pytest.raises(Conflict):
        found()
    world.change(web.id, vm_state="active")
    with pytest.raises(Forbidden), world.store.read() as session:
        ways.find(session, dataclasses.replace(world.admin, source="remote"), "web")
