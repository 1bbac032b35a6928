"""Volumes in real guests on real hosts: what is written is read again, wherever the volume went meanwhile, and whoever
was killed on the way."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator

import pytest

from core.compute.instances.block_devices import BlockDevice
from core.errors import Conflict
from core.operations.operations import Operation
from core.volumes import backends, types, volumes
from tests.e2e.cloud import NANO, Cloud
from tests.e2e.conftest import EAST, WEST
from tests.lab.hosts import Lab
from tests.lab.nfs import shared

pytestmark = pytest.mark.e2e

GIB = 1 << 30


def device(volume: str) -> str:
    """Shell words for a volume's disk in a guest: by its serial, for a guest names its disks as it likes."""
    return f"/dev/$(grep -l {volume[:20]} /sys/block/*/serial | cut -d/ -f4)"


def write(cloud: Cloud, server: str, volume: str, text: str) -> None:
    cloud.sh(server, f"echo {text} | dd of={device(volume)} bs=4096 seek=3 conv=fsync,notrunc 2>/dev/null; sync")


def read(cloud: Cloud, server: str, volume: str) -> str:
    return cloud.sh(server, f"dd if={device(volume)} bs=4096 skip=3 count=1 2>/dev/null | head -n 1 | tr -d '\\000'")


def size(cloud: Cloud, server: str, volume: str) -> int:
    """Bytes, as the guest's kernel sees them."""
    return 512 * int(
        cloud.sh(server, f"cat /sys/block/$(grep -l {volume[:20]} /sys/block/*/serial | cut -d/ -f4)/size")
    )


def disks(cloud: Cloud, server: str) -> int:
    return int(cloud.sh(server, "ls -d /sys/block/vd* | wc -l"))


def once(cloud: Cloud) -> None:
    """No disk is open twice to write, by what the QEMU processes have open; and all else that must hold."""
    assert {path: who for path, who in cloud.open_for_writing().items() if len(who) > 1} == {}
    assert cloud.verify() == []


def test_what_was_written_goes_with_the_volume(cloud: Cloud) -> None:
    data = cloud.add_volume("data")
    host = cloud.host_of(data)
    for name in ("one", "two"):
        cloud.launch(name, host=host)
    for name in ("one", "two"):
        cloud.booted(name)
    before = disks(cloud, "one")
    cloud.attach("one", "data")
    cloud.until(lambda: disks(cloud, "one") == before + 1, "the guest sees the disk", every=0.2)
    assert size(cloud, "one", data) == GIB
    write(cloud, "one", data, "first")
    assert any(data in path for path in cloud.open_for_writing())
    once(cloud)
    with pytest.raises(Conflict, match=f"volume data is attached to one on host {host}"):
        cloud.start_attach("two", "data")

    # It grows under the guest, and is frozen under it.
    cloud.succeeded(cloud.ask(volumes.extend, "data", size_gb=2).id)
    cloud.until(lambda: size(cloud, "one", data) == 2 * GIB, "the guest sees it grown", every=0.2)
    frozen = cloud.snapshot("data", "then", force=True)
    write(cloud, "one", data, "second")
    assert read(cloud, "one", data) == "second"

    cloud.detach("one", "data")
    assert disks(cloud, "one") == before
    assert not any(data in path for path in cloud.open_for_writing())
    cloud.attach("two", "data")
    assert read(cloud, "two", data) == "second"
    copy = cloud.add_volume("copy", size_gb=None, snapshot=frozen)
    cloud.attach("two", "copy", read_only=True)
    assert read(cloud, "two", copy) == "first"
    assert cloud.sh("two", f"cat /sys/block/$(grep -l {copy[:20]} /sys/block/*/serial | cut -d/ -f4)/ro") == "1"
    once(cloud)


def test_a_guest_boots_from_a_volume_that_outlives_it(cloud: Cloud) -> None:
    root = BlockDevice(source_type="image", uuid="tiny", destination_type="volume", boot_index=0, size_gb=1)
    scratch = BlockDevice(source_type="blank", destination_type="volume", size_gb=1, delete_on_termination=True)
    cloud.launch("one", host=EAST, image=None, block_devices=(root, scratch))
    cloud.booted("one")
    assert cloud.instance("one").image_id is None
    assert "SKYDECK root /dev/vda" in cloud.console_log("one")
    (booted,) = (uuid for uuid in cloud.volumes() if cloud.volume(uuid).bootable)
    with pytest.raises(Conflict, match="root disk of one"):
        cloud.start_detach("one", booted)
    cloud.sh("one", "echo kept > /kept; sync")
    once(cloud)
    cloud.delete("one")
    cloud.until(lambda: len(cloud.volumes()) == 1 and not cloud.open_operations(), "the scratch volume goes with it")
    (left,) = cloud.volumes()
    assert cloud.volume(left).status == "available"
    assert cloud.volume(left).bootable
    again = BlockDevice(source_type="volume", uuid=left, boot_index=0)
    cloud.launch("two", image=None, block_devices=(again,))
    cloud.booted("two")
    assert cloud.sh("two", "cat /kept") == "kept"
    once(cloud)


def test_two_attaches_race_and_one_wins(cloud: Cloud) -> None:
    data = cloud.add_volume("data")
    for name in ("one", "two"):
        cloud.launch(name, host=cloud.host_of(data))

    def race(server: str) -> Operation | Conflict:
        try:
            return cloud.start_attach(server, "data")
        except Conflict as lost:
            return lost

    with concurrent.futures.ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(race, ("one", "two")))
    (won,) = [one for one in outcomes if isinstance(one, Operation)]
    (lost,) = [one for one in outcomes if isinstance(one, Conflict)]
    assert f"to {won.object_name} on host" in lost.title
    cloud.succeeded(won.id)
    once(cloud)


def test_a_guest_that_is_off_starts_with_its_volume(cloud: Cloud) -> None:
    data = cloud.add_volume("data")
    cloud.launch("one", host=cloud.host_of(data))
    cloud.booted("one")
    cloud.power("one", "stop")
    cloud.attach("one", "data")
    cloud.power("one", "start")
    cloud.booted("one", boots=2)
    write(cloud, "one", data, "cold")
    cloud.power("one", "stop")
    cloud.detach("one", "data")
    cloud.power("one", "start")
    cloud.booted("one", boots=3)
    assert cloud.sh("one", f"grep -l {data[:20]} /sys/block/*/serial") == ""
    cloud.attach("one", "data")
    assert read(cloud, "one", data) == "cold"
    once(cloud)


@pytest.mark.parametrize("killed", ["hostd", "engine"])
def test_whoever_is_killed_what_was_written_is_read(cloud: Cloud, killed: str) -> None:
    """In the middle of an attach, with the guest at work, and in the middle of the detach."""
    data = cloud.add_volume("data")
    host = cloud.host_of(data)
    cloud.launch("one", host=host)
    cloud.booted("one")

    def kill() -> None:
        if killed == "hostd":
            cloud.kill_hostd(host)
        else:
            cloud.kill_engine()
            cloud.start_engine()

    attaching = cloud.start_attach("one", "data")
    kill()
    cloud.succeeded(attaching.id)
    write(cloud, "one", data, killed)
    once(cloud)
    detaching = cloud.start_detach("one", "data")
    kill()
    cloud.succeeded(detaching.id)
    cloud.attach("one", "data")
    assert read(cloud, "one", data) == killed
    once(cloud)


def test_a_detach_that_a_guest_never_hears_is_no_lie(cloud: Cloud) -> None:
    """A guest without an operating system never lets go: the volume stays its own, and the server can be deleted."""
    cloud.add_image("deaf", cloud.inside(EAST, "/bin/true"), disk_format="raw")
    data = cloud.add_volume("data")
    cloud.launch("one", host=cloud.host_of(data), image="deaf")
    cloud.attach("one", "data")
    operation = cloud.ended(cloud.start_detach("one", "data").id)
    assert operation.state == "failed"
    assert operation.error is not None
    assert "guest" in operation.error["title"] + operation.error["hint"]
    assert cloud.volume(data).status == "in-use"
    once(cloud)
    cloud.delete("one")
    assert cloud.volume(data).status == "available"
    assert cloud.attachments(data) == []


def test_volumes_are_counted_with_the_launch(cloud: Cloud) -> None:
    """Nothing of a launch that is refused is left."""
    device = BlockDevice(source_type="blank", destination_type="volume", size_gb=1 << 20)
    with pytest.raises(Exception, match="gigabytes"):
        cloud.create("one", flavor=NANO, block_devices=(device,))
    assert cloud.volumes() == []


@pytest.fixture
def share(cloud: Cloud, lab: Lab) -> Iterator[str]:
    """A backend in a directory that both hosts have mounted, and the type that asks for it."""
    name = "share"
    with shared(lab.directory / name, cloud.hosts.values()) as place:
        cloud.ask(backends.create, name=name, driver="nfs", options={"path": str(place)})
        cloud.ask(types.create, name=name, extra_specs={"volume_backend_name": name})
        cloud.until(lambda: cloud.reach(name) == {EAST, WEST}, "both hosts reach the backend")
        yield name
        cloud.clear()


def test_a_shared_volume_goes_to_another_host(cloud: Cloud, share: str) -> None:
    """What one host's guest leaves another's takes up; and a launch goes where its volume is reached."""
    data = cloud.add_volume("data", type=share)
    for name, host in (("one", EAST), ("two", WEST)):
        cloud.launch(name, host=host)
    for name in ("one", "two"):
        cloud.booted(name)
    cloud.attach("one", "data")
    write(cloud, "one", data, "first")
    with pytest.raises(Conflict, match=f"attached to one on host {EAST}"):
        cloud.start_attach("two", "data")
    cloud.snapshot("data", "then", force=True)
    write(cloud, "one", data, "second")
    once(cloud)
    cloud.detach("one", "data")
    cloud.attach("two", "data")
    assert read(cloud, "two", data) == "second"
    once(cloud)

    cloud.detach("two", "data")
    cloud.ask(backends.set, share, hosts=(WEST,))
    cloud.until(lambda: cloud.reach(share) == {WEST}, "one host alone reaches it")
    made = cloud.create("three", block_devices=(BlockDevice(source_type="volume", uuid=data),))
    operation = cloud.succeeded(made.operations[0].id)
    assert operation.data["funnel"]["rejected"][EAST]["filter"] == "volumes_reachable"
    assert cloud.instance("three").host_id == cloud.host(WEST).id
    once(cloud)
