"""Volumes given to servers and taken from them: who may, who has it, and what the host is told."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest

from core.compute.instances import reads, volumes, wire
from core.errors import Conflict, Forbidden, Invalid, NotFound, Refused
from core.hosts.table import Host
from core.operations.operations import Operation
from core.volumes import attachments
from core.volumes.tables import QosSpec, Volume, VolumeAttachment, VolumeType
from hostd.spec import DiskLimits, Hardware, InstanceSpec
from tests.core.compute.stores import attached, reaches, shared, status, volume
from tests.core.world import World


@pytest.fixture
def placed(world: World) -> World:
    """Two servers on h1, which reaches the local backend, and host h2 beside."""
    world.image()
    reaches(world, world.host("h1"))
    for name in ("web", "db"):
        world.settled(name=name)
    reaches(world, world.host("h2"))
    return world


def host(world: World, name: str = "web") -> str:
    found = world.instance(name).host_id
    assert found is not None
    return found


def attach(world: World, server: str = "web", volume: str = "data", **more: Any) -> Operation:
    with world.store.write() as session:
        return volumes.attach(session, more.pop("ctx", world.admin), world.config, server, volume=volume, **more)


def detach(world: World, server: str = "web", volume: str = "data") -> Operation:
    with world.store.write() as session:
        return volumes.detach(session, world.admin, server, volume=volume)


def settle(world: World, volume_id: str) -> None:
    """The attach has succeeded."""
    with world.store.write() as session:
        for one in attachments.of_volume(session, volume_id):
            attachments.begin(session, one)
            attachments.finish_attach(session, one)


def told(world: World, server: str = "web", **more: Any) -> InstanceSpec:
    with world.store.read() as session:
        return wire.spec(session, world.config, world.instance(server), **more)


def test_an_attached_volume_is_the_servers_until_it_is_detached(placed: World) -> None:
    id = volume(placed, host=host(placed))
    operation = attach(placed, delete_on_termination=True, tag="db")
    assert (operation.kind, operation.object_id) == ("instance.attach_volume", placed.instance("web").id)
    assert status(placed, id) == "attaching"
    (one,) = attached(placed, id)
    assert (one.status, one.device, one.delete_on_termination, one.tag) == ("reserved", "/dev/vdb", True, "db")
    assert told(placed).volumes == (), "an operation before the attach does not give it to the guest"
    settle(placed, id)
    assert status(placed, id) == "in-use"
    (disk,) = told(placed).volumes
    assert (disk.volume, disk.backend.driver, disk.read_only, disk.boot_index) == (id, "file", False, None)
    assert told(placed, without=id).volumes == ()
    with placed.store.read() as session:
        (shown,) = reads.show(session, placed.instance("web"))["volumes_attached"]
    assert shown == {
        "id": id, "name": "data", "device": "/dev/vdb", "status": "attached", "delete_on_termination": True
    }  # fmt: skip

    assert detach(placed).kind == "instance.detach_volume"
    assert (status(placed, id), attached(placed, id)[0].status) == ("detaching", "detaching")
    with pytest.raises(Conflict, match="is detaching"):
        detach(placed)
    with placed.store.write() as session:
        (one,) = attachments.of_volume(session, id)
        attachments.roll_detaching(session, one)
    assert status(placed, id) == "in-use"
    detach(placed)
    with placed.store.write() as session:
        (one,) = attachments.of_volume(session, id)
        attachments.release(session, one)
        attachments.release(session, one)
    assert (status(placed, id), attached(placed, id)) == ("available", [])


def test_of_two_attaches_at_once_one_wins(placed: World) -> None:
    """The other is told who has it."""
    id = volume(placed, host=host(placed))
    outcomes: list[Operation | Refused] = []

    def race(server: str) -> None:
        try:
            outcomes.append(attach(placed, server))
        except Refused as refused:
            outcomes.append(refused)

    racers = [threading.Thread(target=race, args=(server,)) for server in ("web", "db")]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    (won,) = [one for one in outcomes if isinstance(one, Operation)]
    (lost,) = [one for one in outcomes if isinstance(one, Refused)]
    assert isinstance(lost, Conflict)
    assert lost.title == f"volume data is being attached to {won.object_name} on host h1"
    settle(placed, id)
    other = "db" if won.object_name == "web" else "web"
    with pytest.raises(Conflict, match=rf"volume data is attached to {won.object_name} on host h1"):
        attach(placed, other)
    with pytest.raises(Conflict, match="already"):
        attach(placed, won.object_name)


def test_the_database_alone_holds_one_attachment_of_a_volume(placed: World) -> None:
    id = volume(placed, host=host(placed))
    attach(placed)
    with placed.store.write() as session:
        session.get_one(Volume, id).status = "available"  # whatever some repair has put there
    with pytest.raises(Conflict, match="attached already"):
        attach(placed, "db")


def test_a_multiattach_volume_is_in_several_guests(placed: World) -> None:
    id = volume(placed, host=host(placed), multiattach=True)
    for server in ("web", "db"):
        attach(placed, server)
        settle(placed, id)
    assert len(attached(placed, id)) == 2
    assert told(placed).volumes[0].shareable
    with placed.store.write() as session:
        attachments.release(session, attachments.of_volume(session, id)[0])
    assert status(placed, id) == "in-use"


@pytest.mark.parametrize(
    ("fields", "more", "error", "words"),
    [
        ({"status": "error"}, {}, Conflict, "is error, it must be available"),
        ({}, {"volume": "none-such"}, NotFound, "none-such"),
        ({}, {"device": "/etc/passwd"}, Invalid, "cannot be the name"),
        ({}, {"tag": "a,b"}, Invalid, "no tag"),
    ],
)
def test_what_cannot_be_attached(
    placed: World, fields: dict[str, Any], more: dict[str, Any], error: type[Refused], words: str
) -> None:
    id = volume(placed, host=host(placed), **fields)
    with pytest.raises(error, match=words):
        attach(placed, **more)
    assert attached(placed, id) == []
    assert status(placed, id) == fields.get("status", "available")


def test_only_what_the_host_reaches_is_attached(placed: World) -> None:
    (elsewhere,) = [row.id for row in placed.rows(Host) if row.name == "h2"]
    volume(placed, "far", host=elsewhere)
    with pytest.raises(Conflict, match="volume far is on host h2, server web on h1") as refused:
        attach(placed, volume="far")
    assert "launch a server where it is" in refused.value.hint
    shared(placed)
    volume(placed, "wide", backend="ceph")
    with pytest.raises(Conflict, match="host h1 does not reach backend ceph"):
        attach(placed, volume="wide")
    reaches(placed, host(placed), backend="ceph")
    attach(placed, volume="wide")


def test_others_volumes_and_locked_servers_are_left_alone(placed: World) -> None:
    stranger = placed.someone("member", project="other")
    theirs = volume(placed, "theirs", host=host(placed), ctx=stranger)
    with pytest.raises(NotFound):
        attach(placed, volume="theirs")
    with pytest.raises(Invalid, match="different projects"):
        attach(placed, volume=theirs)
    member = placed.someone("member", project="admin")
    volume(placed, host=host(placed))
    placed.change(placed.instance("web").id, locked=True, locked_by="admin")
    with pytest.raises(Conflict, match="locked"):
        attach(placed, ctx=member)
    with pytest.raises(Forbidden):
        attach(placed, ctx=dataclasses.replace(member, roles=frozenset({"reader"})))
    placed.change(placed.instance("web").id, locked=False, vm_state="suspended")
    with pytest.raises(Conflict, match="SUSPENDED"):
        attach(placed)


def test_a_root_disk_is_not_detached(placed: World) -> None:
    id = volume(placed, host=host(placed))
    attach(placed)
    settle(placed, id)
    with placed.store.write() as session:
        attachments.of_volume(session, id)[0].boot_index = 0
    with pytest.raises(Conflict, match="root disk of web"):
        detach(placed)
    assert status(placed, id) == "in-use"


def test_what_works_on_a_volume_outlives_its_attachment(placed: World) -> None:
    """A volume that grows while its server goes keeps that status, and remembers that it is free."""
    id = volume(placed, host=host(placed))
    attach(placed)
    settle(placed, id)
    with placed.store.write() as session:
        row = session.get_one(Volume, id)
        assert attachments.move(session, row, ("in-use",), "extending")
        attachments.release(session, attachments.of_volume(session, id)[0])
    with placed.store.read() as session:
        row = session.get_one(Volume, id)
        assert (row.status, row.previous_status) == ("extending", "available")
        assert attachments.resting(session, id) == "available"


@pytest.mark.parametrize(
    ("specs", "limits"),
    [
        ({"total_iops_sec": "500"}, DiskLimits(total_iops=500)),
        ({"total_iops_sec_per_gb": "30"}, DiskLimits(total_iops=300)),
        ({"total_iops_sec": "200", "total_iops_sec_per_gb": "30"}, DiskLimits(total_iops=200)),
        ({"total_bytes_sec_per_gb": "1000", "read_bytes_sec": "5"}, DiskLimits(total_bytes=10000)),
        ({"read_iops_sec": "7", "write_bytes_sec": "9"}, DiskLimits(read_iops=7, write_bytes=9)),
    ],
)
def test_limits_are_those_of_the_type(placed: World, specs: dict[str, str], limits: DiskLimits) -> None:
    id = volume(placed, host=host(placed), size_gb=10, read_only=True)
    with placed.store.write() as session:
        session.add(QosSpec(id="q", name="slow", specs=specs, created_at=1))
        session.flush()
        kind = session.get_one(VolumeType, session.get_one(Volume, id).type_id)
        kind.qos_id = "q"
    attach(placed)
    settle(placed, id)
    (disk,) = told(placed).volumes
    assert disk.limits == limits
    assert disk.read_only


def test_disks_keep_the_order_they_came_in(placed: World) -> None:
    ids = [volume(placed, f"v{number}", host=host(placed)) for number in range(3)]
    for number, id in enumerate(ids):
        attach(placed, volume=f"v{number}")
        settle(placed, id)
    assert [disk.volume for disk in told(placed).volumes] == ids
    assert [row.device for row in placed.rows(VolumeAttachment, VolumeAttachment.number)] == [
        "/dev/vdb",
        "/dev/vdc",
        "/dev/vdd",
    ]


def test_the_hardware_is_what_the_image_asks_for(world: World) -> None:
    world.host("h1")
    asked = {"hw_disk_bus": "sata", "hw_vif_model": "e1000", "hw_firmware_type": "uefi", "hw_video_model": "vga"}
    world.image("odd", properties={**asked, "hw_machine_type": "pc", "os_type": "windows"})
    world.settled(image="odd")
    assert told(world).hardware == Hardware(
        disk_bus="sata", vif_model="e1000", firmware="uefi", machine="pc", video="vga"
    )
    assert told(world).os_type == "windows"
