"""The disks a server is asked to have: nova's block device mapping, what it may say and what becomes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.compute import flavors
from core.compute.instances.block_devices import MAPPING, BlockDevice
from core.compute.instances.table import Instance
from core.errors import Conflict, Invalid, NotFound, NoValidHost, QuotaExceeded, Refused
from core.hosts.table import Host
from core.identity import quotas
from core.images.images import Image
from core.operations.operations import Operation
from core.store import now
from core.volumes.tables import Snapshot, Volume, VolumeAttachment
from tests.core.compute.stores import attached, reaches, shared, status, volume
from tests.core.world import World

IMAGE = BlockDevice(source_type="image", destination_type="volume", boot_index=0, size_gb=1)
BLANK = BlockDevice(source_type="blank", destination_type="volume", size_gb=2)
SWAP = BlockDevice(source_type="blank", destination_type="local", guest_format="swap", size_gb=64)
EPHEMERAL = BlockDevice(source_type="blank", destination_type="local", size_gb=1)


@pytest.fixture
def placed(world: World) -> World:
    world.image()
    reaches(world, world.host("h1"))
    return world


def snapshot(world: World, of: str, **fields: Any) -> str:
    with world.store.write() as session:
        row = Snapshot(
            **{
                "id": world.store.clock.uuid(),
                "name": "then",
                "project_id": world.admin.project_id,
                "user_id": world.admin.user_id,
                "volume_id": of,
                "size_gb": 3,
                "status": "available",
                "created_at": now(session),
                "updated_at": now(session),
                **fields,
            }
        )
        session.add(row)
        return row.id


def host(world: World) -> str:
    return next(str(row.id) for row in world.rows(Host) if row.name == "h1")


def disks(world: World) -> list[tuple[int | None, int, str, str]]:
    """(boot index, GiB, what it is made from, status) of the attached volumes, in order."""
    with world.store.read() as session:
        return [
            (one.boot_index, row.size_gb, row.source_kind, row.status)
            for one in world.rows(VolumeAttachment, VolumeAttachment.number)
            for row in [session.get_one(Volume, one.volume_id)]
        ]


def test_an_image_alone_is_todays_root_disk(placed: World) -> None:
    instance = placed.one()
    assert (instance.image_name, instance.root_gb, disks(placed)) == ("tiny", 1, [])
    same = placed.one(
        name="same",
        image=None,
        block_devices=(BlockDevice(source_type="image", uuid="tiny", destination_type="local", boot_index=0),),
    )
    assert (same.image_id, same.root_gb) == (instance.image_id, 1)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"image": "tiny", "block_devices": (IMAGE,)}, [(0, 1, "image", "creating")]),
        (
            {"image": "tiny", "block_devices": (BLANK,)},
            [(None, 2, "", "creating")],
        ),
        (
            {"image": None, "block_devices": (BlockDevice(source_type="volume", uuid="data", boot_index=0), BLANK)},
            [(0, 1, "", "attaching"), (None, 2, "", "creating")],
        ),
        (
            {"image": None, "block_devices": (BlockDevice(source_type="snapshot", uuid="then", boot_index=0),)},
            [(0, 3, "snapshot", "creating")],
        ),
    ],
)
def test_what_a_server_boots_from(
    placed: World, spec: dict[str, Any], wanted: list[tuple[int | None, int, str, str]]
) -> None:
    of = volume(placed, host=host(placed), bootable=True, image_properties={"os_type": "linux", "min_ram": "0"})
    snapshot(placed, of)
    instance = placed.one(**spec)
    assert disks(placed) == wanted
    boots_from_volume = wanted[0][0] == 0
    assert (instance.image_id is None, instance.root_gb == 0) == (boots_from_volume, boots_from_volume)
    assert instance.image_properties == ({"os_type": "linux"} if spec["image"] is None else {})
    (operation,) = placed.rows(Operation)
    assert len(operation.data["volumes"]) == sum(one[3] == "creating" for one in wanted)
    placed.check_claims()


def test_local_disks_are_within_the_flavor(placed: World) -> None:
    with placed.store.write() as session:
        flavors.create(session, placed.admin, name="fat", ram_mb=512, vcpus=1, disk_gb=1, ephemeral_gb=4, swap_mb=128)
    given = placed.one(flavor="fat")
    assert (given.ephemeral_gb, given.swap_mb) == (4, 128)
    less = placed.one(name="less", flavor="fat", block_devices=(EPHEMERAL, SWAP))
    assert (less.ephemeral_gb, less.swap_mb) == (1, 64)
    for entry in (SWAP, EPHEMERAL):
        with pytest.raises(Invalid, match="were asked for"):
            placed.one(name="more", block_devices=(entry,))


@pytest.mark.parametrize(
    ("devices", "image", "error", "words"),
    [
        ((), None, Invalid, "an image is needed"),
        ((BLANK,), None, Invalid, "an image is needed"),
        ((IMAGE, IMAGE), "tiny", Invalid, "two disks"),
        ((BlockDevice(source_type="snapshot", uuid="then", boot_index=0),), "tiny", Invalid, "one too many"),
        ((BlockDevice(source_type="blank", destination_type="volume", size_gb=1, boot_index=2),), "tiny", Invalid,
         "boot order"),
        ((BlockDevice(source_type="image", boot_index=0),), None, Invalid, "needs to say which"),
        ((BlockDevice(source_type="blank", destination_type="volume"),), "tiny", Invalid, "needs a size"),
        ((BlockDevice(source_type="blank", size_gb=1, destination_type="volume", boot_index=0),), None, Invalid,
         "cannot be booted"),
        ((BlockDevice(source_type="file", uuid="/etc/shadow"),), "tiny", Invalid, "no disk can be made"),
        ((BlockDevice(source_type="snapshot", uuid="then", destination_type="local"),), "tiny", Invalid,
         "no disk can be made"),
        ((BlockDevice(source_type="volume", uuid="none-such"),), "tiny", NotFound, "none-such"),
        ((BlockDevice(source_type="volume"),), "tiny", Invalid, "needs to say which"),
        ((BlockDevice(source_type="volume", uuid="data", boot_index=0),), None, Invalid, "not bootable"),
        ((BlockDevice(source_type="volume", uuid="data"),) * 2, "tiny", Invalid, "only once"),
        ((BlockDevice(source_type="snapshot", uuid="then", size_gb=1),), "tiny", Invalid, "cannot hold then"),
        ((BlockDevice(source_type="blank", destination_type="volume", size_gb=1, disk_bus="floppy"),), "tiny", Invalid,
         "no bus"),
        ((BlockDevice(source_type="blank", destination_type="volume", size_gb=1, disk_bus="ide"),), "tiny", Invalid,
         "no ide bus"),
        ((BlockDevice(source_type="blank", destination_type="volume", size_gb=1, device_type="lun"),), "tiny", Invalid,
         "type 'lun'"),
        ((BlockDevice(source_type="blank", destination_type="volume", size_gb=1, volume_type="gold"),), "tiny",
         NotFound, "gold"),
        ((BlockDevice(source_type="blank", destination_type="volume", size_gb=900),), "tiny", NoValidHost,
         "volumes_reachable"),
        ((BlockDevice(source_type="blank", destination_type="volume", size_gb=2000),), "tiny", QuotaExceeded,
         "gigabytes"),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_nothing(
    placed: World, devices: tuple[BlockDevice, ...], image: str | None, error: type[Refused], words: str
) -> None:
    id = volume(placed, host=host(placed))
    reaches(placed, host(placed), free_gb=60)
    snapshot(placed, id)
    with pytest.raises(error, match=words):
        placed.create(image=image, block_devices=devices)
    assert placed.live() == []
    assert (status(placed, id), attached(placed, id)) == ("available", [])
    assert [row.id for row in placed.rows(Volume)] == [id]


def test_one_volume_does_not_serve_several_servers(placed: World) -> None:
    volume(placed, host=host(placed))
    device = BlockDevice(source_type="volume", uuid="data")
    with pytest.raises(Invalid, match="several instances"):
        placed.create(block_devices=(device,), min_count=2, max_count=2)
    placed.create(block_devices=(device,))
    with pytest.raises(Conflict, match="volume data is being attached to web on host h1"):
        placed.create(name="two", block_devices=(device,))


def test_a_multiattach_volume_serves_them_all(placed: World) -> None:
    id = volume(placed, host=host(placed), multiattach=True)
    device = BlockDevice(source_type="volume", uuid="data")
    assert len(placed.create(block_devices=(device,), min_count=3, max_count=3).instances) == 3
    assert (status(placed, id), len(attached(placed, id))) == ("attaching", 3)


def test_each_of_several_servers_has_its_own_new_volumes_within_quota(placed: World) -> None:
    with placed.store.write() as session:
        quotas.update(session, placed.admin, placed.admin.project_id, "admin", {"volumes": 5})
    made = placed.create(block_devices=(BLANK, BLANK), min_count=1, max_count=4)
    assert len(made.instances) == 2
    assert len(placed.rows(Volume)) == 4


def test_a_mapping_only_image_stands_for_volumes(placed: World) -> None:
    of = volume(placed, host=host(placed), bootable=True)
    taken = snapshot(placed, of)
    entries = [
        {"source_type": "snapshot", "snapshot_id": taken, "destination_type": "volume", "boot_index": 0,
         "volume_size": 4, "delete_on_termination": True, "device_name": "/dev/vda"},
        {"source_type": "blank", "destination_type": "volume", "boot_index": None, "volume_size": 1},
    ]  # fmt: skip
    image = placed.image("of-web", data=b"")
    with placed.store.write() as session:
        session.get_one(Image, image.id).properties = {MAPPING: json.dumps(entries)}
    placed.one(image="of-web")
    assert disks(placed) == [(0, 4, "snapshot", "creating"), (None, 1, "", "creating")]
    with pytest.raises(Invalid, match="stands for volumes"):
        placed.create(image=None, block_devices=(BlockDevice(source_type="image", uuid="of-web", boot_index=0),))
    with placed.store.write() as session:
        session.get_one(Image, image.id).properties = {MAPPING: "{]"}
    with pytest.raises(Invalid, match="cannot be read"):
        placed.create(image="of-web")


def test_a_host_that_does_not_reach_a_volume_is_not_chosen(placed: World) -> None:
    shared(placed)
    far = placed.host("h2")
    reaches(placed, far)
    reaches(placed, far, backend="ceph")
    volume(placed, backend="ceph")
    assert placed.one(block_devices=(BlockDevice(source_type="volume", uuid="data"),)).host_id == far
    with pytest.raises(NoValidHost) as refused:
        placed.create(
            name="two",
            availability_zone="nova:h1",
            block_devices=(BlockDevice(source_type="volume", uuid="data"),),
        )
    assert refused.value.funnel["rejected"]["h1"]["why"].startswith("reaches 0 of 1 volumes, not data of backend ceph")


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"hw_disk_bus": "floppy"}, "hw_disk_bus"),
        ({"hw_vif_model": "ne2k"}, "hw_vif_model"),
        ({"hw_machine_type": "microvm"}, "hw_machine_type"),
        ({"hw_video_model": "qxl"}, "hw_video_model"),
        ({"hw_firmware_type": "open"}, "hw_firmware_type"),
        ({"os_type": "linux; rm"}, "os_type"),
        ({"hw_disk_bus": "ide"}, "no ide bus"),
    ],
)
def test_hardware_nobody_has_is_refused_at_the_create(placed: World, properties: dict[str, str], words: str) -> None:
    """Also where the image is older than the check of its properties."""
    image = placed.image("odd", data=b"odd")
    with placed.store.write() as session:
        session.get_one(Image, image.id).properties = properties
    with pytest.raises(Invalid, match=words):
        placed.create(image="odd")
    assert placed.rows(Instance) == []
