"""Which disks a guest has under which names, what hardware may be asked for, and how a chain is written and read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import attrs
import pytest

from hostd.compute import disk_xml, guest_disks, hardware
from hostd.drivers import DiskSource
from hostd.spec import BackendSpec, DiskLimits, ErrorCode, Hardware, HostError, VolumeDisk
from hostd.storage import disks
from tests.hostd.specs import image, instance

BACKEND = BackendSpec(uuid="b0000000-1111-4222-8333-444444444444", driver="file")
A, B, C = (f"{letter * 8}-1111-4222-8333-444444444444" for letter in "abc")


def volume(uuid: str, **fields: Any) -> VolumeDisk:
    return VolumeDisk(volume=uuid, backend=BACKEND, **fields)


def test_names_stay_with_disks_and_are_not_given_on_while_they_are_in_use() -> None:
    two = instance(volumes=(volume(A), volume(B)), ephemeral_gb=1)
    first = guest_disks.targets(two, {})
    assert first == {"root.qcow2": "vda", "ephemeral0.raw": "vdb", A: "vdc", B: "vdd"}
    kept = {A: "vdc", B: "vdd"}
    # A goes and C comes: A has its name until it is gone.
    swapped = instance(volumes=(volume(B), volume(C)), ephemeral_gb=1)
    names = guest_disks.targets(swapped, kept)
    assert (names[B], names[C]) == ("vdd", "vde")
    assert guest_disks.targets(swapped, {B: "vdd"})[C] == "vdc"
    # On another bus it is another disk.
    assert guest_disks.targets(instance(volumes=(volume(B, bus="scsi"),)), {B: "vdd"})[B] == "sda"
    # A disk of the guest's own comes in its place.
    assert guest_disks.targets(instance(volumes=(volume(A),), ephemeral_gb=1), {A: "vdb"})[A] == "vdc"
    many = instance(volumes=tuple(volume(f"{number:08x}-1111-4222-8333-444444444444") for number in range(30)))
    assert len(set(guest_disks.targets(many, {}).values())) == 31


def test_a_volume_with_boot_index_0_takes_the_root_disks_place() -> None:
    spec = instance(image=image(), root_gb=5, swap_mb=64, volumes=(volume(A), volume(B, boot_index=0)))
    assert disks.wanted(spec) == ("swap.raw",)
    assert disks.images(spec) == ()
    sources = {uuid: DiskSource(type="file", format="qcow2", name=f"/v/{uuid}") for uuid in (A, B)}
    found = guest_disks.disks(spec, Path("/i"), sources, {})
    assert [(disk.serial[:4], disk.target, disk.boot) for disk in found] == [
        ("bbbb", "vda", 1),
        ("swap", "vdb", None),
        ("aaaa", "vdc", None),
    ]
    beside = attrs.evolve(spec, volumes=(volume(A), volume(B, boot_index=3)))
    assert [disk.boot for disk in guest_disks.disks(beside, Path("/i"), sources, {})] == [1, None, None, 2]
    direct = attrs.evolve(beside, kernel=image("b"))
    assert [disk.boot for disk in guest_disks.disks(direct, Path("/i"), sources, {})] == [None] * 4


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"hardware": Hardware(disk_bus="floppy")}, "disk_bus 'floppy' is none of"),
        ({"hardware": Hardware(vif_model="ne2k'/>")}, "vif_model"),
        ({"hardware": Hardware(firmware="coreboot")}, "firmware"),
        ({"hardware": Hardware(machine="microvm")}, "machine"),
        ({"hardware": Hardware(video="qxl")}, "video"),
        ({"hardware": Hardware(disk_bus="ide")}, "only the machine pc has ide"),
        ({"volumes": (volume(A, bus="nvme"),)}, "bus 'nvme'"),
        ({"volumes": (volume(A, bus="sata", read_only=True),)}, "no read-only disk on sata"),
        ({"volumes": (volume(A), volume(A))}, "attached twice"),
        ({"volumes": (volume(A, limits=DiskLimits(total_iops=5, read_iops=5)),)}, "total iops"),
        ({"volumes": (volume(A, limits=DiskLimits(read_bytes=-5)),)}, "below 0"),
        ({"volumes": (volume(A, boot_index=0), volume(B, boot_index=0))}, "two volumes have boot index 0"),
    ],
)
def test_hardware_that_cannot_be_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(HostError, match=why) as refused:
        hardware.check(instance(**fields))
    assert refused.value.code is ErrorCode.PROTOCOL


def test_what_layered_files_keep_is_not_shared() -> None:
    with pytest.raises(HostError, match="keeps several guests from sharing it"):
        guest_disks.volume(
            instance(),
            volume(A, shareable=True),
            DiskSource(type="file", format="qcow2", name="/v"),
            target="vdb",
        )


def test_a_disk_is_read_as_it_was_written_and_by_itself_has_no_place_in_the_boot_order() -> None:
    chain = DiskSource(type="file", format="raw", name="/v/0")
    for number in (1, 2):
        chain = DiskSource(type="file", format="qcow2", name=f"/v/{number}", backing=chain)
    disk = guest_disks.Disk(
        source=chain, target="vdc", bus="virtio", serial=A, boot=2, limits=DiskLimits(write_iops=9), read_only=True
    )
    text = disk_xml.text(disk, "none")
    assert "boot" not in text
    domain = f"<domain><devices>{text}<disk><target dev='sda'/></disk></devices></domain>"
    read = disk_xml.plugged(domain)[A]
    assert (read.source, read.limits, read.target, read.copying) == (chain, disk.limits, "vdc", "")
    assert [source.name for source in read.chain] == ["/v/2", "/v/1", "/v/0"]
    assert disk_xml.all_targets(domain) == ("vdc", "sda")
    copied = domain.replace("<backingStore ", "<mirror job='active-commit' ready='yes'/><backingStore ", 1)
    assert (disk_xml.plugged(copied)[A].copying, disk_xml.plugged(copied)[A].copied) == ("active-commit", True)
    moved = {A: DiskSource(type="block", format="raw", name="/dev/vg/a")}
    changed = disk_xml.resourced(domain, moved)
    assert changed is not None
    assert disk_xml.plugged(changed)[A].source == moved[A]
    element = ET.fromstring(changed).find("devices/disk")
    assert element is not None
    assert element.get("type") == "block"
    assert disk_xml.resourced(changed, moved) is None
