"""Backends, and every listing of storage."""

from __future__ import annotations

from typing import Any

import pytest

from core import cloud, listing
from core.context import Context
from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.identity import projects
from core.lists import LISTINGS
from core.volumes import backends, qos, transfers, types, volumes
from core.volumes.tables import Backend
from hostd.spec import BackendSpec
from tests.core.volumes.stock import Stock
from tests.core.world import GIB, World, as_role


def do(world: World, verb: Any, *args: Any, **asked: Any) -> Any:
    with world.store.write() as session:
        return verb(session, asked.pop("ctx", world.admin), *args, **asked)


def rows(world: World, kind: str, ctx: Context | None = None, **where: str) -> list[Any]:
    with world.store.read() as session:
        return listing.page(session, ctx or world.admin, LISTINGS[kind], where=where)


def test_a_cloud_begins_with_each_hosts_own_disk(world: World) -> None:
    (local,) = world.rows(Backend)
    assert (local.name, local.driver, local.options, local.hosts) == ("local", "file", {}, None)
    assert local.description == cloud.LOCAL_IS
    assert backends.spec_of(local) == BackendSpec(uuid=local.id, driver="file")


def test_a_backends_life(world: World, stock: Stock) -> None:
    one, two = world.host("h1"), world.host("h2")
    world.host("h3", up=False)
    made = do(world, backends.create, name="nas", driver="nfs", options={"export": "nas:/v"}, hosts=("h1", "h3"))
    assert [(row.kind, row.lane, row.object_name) for row in world.operations()] == [("backend.look", one, "nas")]
    do(world, backends.set, "nas", options={"export": "nas:/w"}, all_hosts=True)
    assert [row.lane for row in world.operations()[1:]] == [one, two]
    assert backends.spec_of(world.rows(Backend)[1]).options == {"export": "nas:/w"}
    stock.seen("nas", one)
    do(world, types.create, name="nas", extra_specs={"volume_backend_name": "nas"})
    volume = stock.made(type="nas")
    for verb, asked in ((backends.set, {"options": {}}), (backends.delete, {})):
        with pytest.raises(Conflict, match="holds"):
            do(world, verb, "nas", **asked)
    do(world, backends.set, "nas", enabled=False, disabled_reason="old")
    assert world.events("backend.set")[-1].after == {"enabled": False, "disabled_reason": "old"}
    stock.put(volume.id, deleted_at=1)
    with pytest.raises(Conflict, match="whose record is kept"):
        do(world, backends.delete, made.id)
    do(world, backends.create, name="spare", driver="lvm")
    do(world, backends.delete, "spare")
    with pytest.raises(NotFound):
        do(world, backends.find, "spare")
    with pytest.raises(Forbidden):
        do(world, backends.find, "nas", ctx=world.someone("member"))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"driver": "floppy"}, "unknown driver 'floppy'"),
        ({"driver": "lvm", "availability_zone": "nova"}, "zones of its hosts"),
        ({"options": {"-x": "1"}}, "'-x' is no option"),
        ({"options": {"path": "a\nb"}}, "unprintable"),
        ({"max_over_subscription": 0.5}, "no over-subscription"),
        ({"reserved_percent": 100}, "cannot be reserved"),
        ({"name": " x"}, "without blanks"),
    ],
)
def test_what_a_backend_refuses(world: World, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        do(world, backends.create, **{"name": "nas", "driver": "nfs", **asked})


def test_every_list_of_storage(world: World, stock: Stock) -> None:
    host = world.host()
    world.image()
    me = world.someone("member")
    stock.seen("local", host, total=100, free=40, volumes=[{"uuid": "stranger", "size": 1, "allocated": 1}])
    volume = stock.made(me, size_gb=2)
    spare = stock.made(me, name="spare")
    stock.snapshot(volume, name="s")
    instance = world.settled(me)
    stock.attach(volume, instance.id)
    do(world, transfers.create, volume=spare.id, name="gift", ctx=me)
    do(world, qos.create, name="slow")
    do(world, qos.associate, "slow", types.DEFAULT)
    with world.store.write() as session:
        volumes.extend(session, me, volume.id, size_gb=3)
    by_name = {row["name"]: row for row in rows(world, "volume", me)}
    row = by_name["data"]
    assert (row["status"], row["type"], row["backend"], row["host"], row["snapshots"], row["project"]) == (
        "extending", types.DEFAULT, "local", "h1", 1, "demo",
    )  # fmt: skip
    assert (row["operation"], row["operation_state"], row["progress"]) == ("volume.extend", "ready", 0)
    (held,) = row["attachments"]
    assert (held["server"], held["server_id"], held["device"], held["host"]) == ("web", instance.id, "/dev/vdb", "h1")
    assert by_name["spare"]["attachments"] == []
    assert rows(world, "volume") == [], "another project's"
    wide = as_role(world.admin, "admin", all_projects=True)
    assert len(rows(world, "volume", wide)) == 2
    assert [row["volume"] for row in rows(world, "snapshot", me)] == ["data"]
    assert [(row["volume"], row["server"]) for row in rows(world, "attachment", me)] == [("data", "web")]
    assert [(row["name"], row["volume"]) for row in rows(world, "transfer", me)] == [("gift", "spare")]
    assert [(row["qos"], row["volumes"], row["projects"]) for row in rows(world, "volume_type", me)] == [
        ("slow", 2, [])
    ]
    assert [row["types"] for row in rows(world, "qos", me)] == [[types.DEFAULT]]
    (local,) = rows(world, "backend")
    assert (local["volumes"], local["reached"], local["free_bytes"], local["shared"]) == (2, ["h1"], 40 * GIB, False)
    (seen,) = rows(world, "backend_host")
    assert (seen["backend"], seen["host"], seen["volumes"][0]["uuid"]) == ("local", "h1", "stranger")
    assert rows(world, "backup", me) == []
    with pytest.raises(Forbidden):
        rows(world, "backend", me)


def test_a_project_with_volumes_stays(world: World, stock: Stock) -> None:
    stock.seen("local", world.host())
    stock.made(world.someone("member", project="doomed"))
    with pytest.raises(Conflict, match="still has 1 volumes"):
        do(world, projects.delete, "doomed")
