"""The disks a server is asked to have, as nova's block device mapping (version 2) spells them: read and checked.

What may stand in an entry, by source and destination:

    image     local     today's root disk, a file of the host's on the image
    image     volume    a new volume, filled from the image
    snapshot  volume    a new volume, as the snapshot is
    volume    volume    a volume that is there
    blank     volume    a new volume, empty
    blank     local     an ephemeral disk, or with guest_format swap the swap disk, within what the flavor has
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlmodel import Session

from core.compute.flavors import Flavor
from core.compute.instances.hardware import check_bus, hardware
from core.context import Context
from core.errors import Invalid
from core.images import images
from core.images.images import Image
from core.volumes import snapshots, types, volumes
from core.volumes.tables import Snapshot, Volume, VolumeType

MAPPING: Final = "block_device_mapping"
"""The image property that holds the disks of a server whose root disk was a volume, as JSON."""

MOST: Final = 24
"""Disks of one server: as many letters as a bus has names, but for two that the config drive's CDs take."""

_PAIRS: Final = frozenset(
    {("image", "local"), ("image", "volume"), ("snapshot", "volume"), ("volume", "volume"), ("blank", "volume"),
     ("blank", "local")}
)  # fmt: skip

_GIB: Final = 1 << 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockDevice:
    """One disk, as asked for: the client's --block-device, word for word."""

    source_type: str
    """image, volume, snapshot or blank."""
    uuid: str | None = None
    """Of the source; a name will do. Of an image None: the one the server is made from."""
    destination_type: str = ""
    """volume or local; empty: local for an image and what is blank, else volume."""
    boot_index: int | None = None
    """0 is the root disk; None and below 0 are never booted from."""
    size_gb: int | None = None
    """None: as large as the source. Of swap in MiB, as a flavor's."""
    delete_on_termination: bool = False
    volume_type: str | None = None
    disk_bus: str = ""
    device_type: str = "disk"
    guest_format: str | None = None
    """swap, or None."""
    tag: str = ""


class Disk(NamedTuple):
    """A volume the server shall have, with every name looked up: one that is there, or one that is to be made."""

    asked: BlockDevice
    boot_index: int | None
    volume: Volume | None = None
    image: Image | None = None
    snapshot: Snapshot | None = None
    size_gb: int = 0
    type: VolumeType | None = None
    """Of a new one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """All disks of a server."""

    image: Image | None
    """Of the root disk, where that is a file of the host's; None: it boots from a volume."""
    properties: dict[str, str]
    """Of the image that it boots, also where that became a volume."""
    name: str = ""
    """Of that image."""
    ephemeral_gb: int
    swap_mb: int
    disks: tuple[Disk, ...] = ()

    @property
    def new(self) -> tuple[Disk, ...]:
        return tuple(disk for disk in self.disks if disk.volume is None)


def resolve(
    session: Session, ctx: Context, devices: Sequence[BlockDevice], *, image: str | None, flavor: Flavor
) -> Layout:
    """The disks of a server that is made from an image (by name or id), from these entries, or from both.

    Raises Invalid for what contradicts itself or the flavor, NotFound, Forbidden, Conflict for a volume that cannot be
    had.
    """
    found = None if image is None else images.find(session, ctx, image)
    if found is not None and MAPPING in found.properties and not any(_is_root(one) for one in devices):
        devices = (*_mapped(found), *devices)
        image = None
    checked = [_check(one) for one in devices]
    roots = [one for one in checked if _is_root(one)]
    if image is not None and not roots:
        checked.insert(0, BlockDevice(source_type="image", uuid=image, destination_type="local", boot_index=0))
        roots = checked[:1]
    if not roots:
        raise Invalid(
            "an image is needed to boot from, or a volume",
            hint="Choose with --image, --volume or --snapshot; skydeck image list shows images.",
        )
    if image is not None and roots[0].source_type != "image":
        raise Invalid("an image and another root disk are one too many", hint="Leave the image out, or boot_index 0.")
    if len(roots) > 1:
        raise Invalid("two disks want to be the root disk", hint="One alone has boot_index 0.")
    order = sorted(one.boot_index for one in checked if one.boot_index is not None and one.boot_index >= 0)
    if order != list(range(len(order))):
        raise Invalid("the boot order has gaps or names a place twice", hint="boot_index counts 0, 1, 2, ….")
    ephemeral, swap = _local(checked, flavor)
    disks = tuple(_disk(session, ctx, one, image=found) for one in checked if one.destination_type == "volume")
    if len(disks) > MOST:
        raise Invalid(f"{len(disks)} volumes are more than a server can have", hint=f"At most {MOST}.")
    there = [disk.volume.id for disk in disks if disk.volume is not None]
    if len(set(there)) < len(there):
        raise Invalid("a volume can be attached to a server only once")
    return _laid_out(session, ctx, roots[0], disks, found, flavor=flavor, ephemeral_gb=ephemeral, swap_mb=swap)


def _laid_out(
    session: Session,
    ctx: Context,
    root: BlockDevice,
    disks: tuple[Disk, ...],
    image: Image | None,
    *,
    flavor: Flavor,
    ephemeral_gb: int,
    swap_mb: int,
) -> Layout:
    local = None
    if root.destination_type == "local":
        local = booted = _bootable(session, ctx, root.uuid, image)
        properties, name = dict(booted.properties), booted.name
        _check_local_size(booted, flavor)
        ram = booted.min_ram_mb
    else:
        first = next(disk for disk in disks if disk.boot_index == 0)
        properties, name, ram = _of_volume(session, first)
    if flavor.ram_mb < ram:
        raise Invalid(f"flavor {flavor.name} has {flavor.ram_mb} MiB, image {name} needs {ram}")
    of = hardware(properties)
    for disk in disks:
        check_bus(disk.asked.disk_bus, of)
    return Layout(
        image=local, properties=properties, name=name, ephemeral_gb=ephemeral_gb, swap_mb=swap_mb, disks=disks
    )


def _is_root(device: BlockDevice) -> bool:
    return device.boot_index == 0


def _check(device: BlockDevice) -> BlockDevice:
    """The entry with its destination said. Raises Invalid for one that means nothing."""
    destination = device.destination_type or ("local" if device.source_type in ("image", "blank") else "volume")
    if (device.source_type, destination) not in _PAIRS:
        raise Invalid(
            f"no disk can be made from {device.source_type[:20]!r} to {destination[:20]!r}",
            hint="From image, snapshot, volume or blank to volume; from image or blank to local.",
        )
    if device.device_type != "disk":
        raise Invalid(f"a device of type {device.device_type[:20]!r} cannot be had", hint="Only disk can.")
    if device.guest_format not in (None, "swap") or (device.guest_format and destination != "local"):
        raise Invalid(
            f"guest_format cannot be {str(device.guest_format)[:20]!r} here", hint="swap, of a blank local disk."
        )
    if device.source_type == "blank" and not device.size_gb:
        raise Invalid("a blank disk needs a size")
    if device.source_type in ("volume", "snapshot") and not device.uuid:
        raise Invalid(f"a disk from a {device.source_type} needs to say which")
    if device.size_gb is not None and device.size_gb < 1:
        raise Invalid(f"a disk cannot have {device.size_gb} GiB", hint="At least 1.")
    if destination == "local" and (device.volume_type or device.disk_bus or device.tag):
        raise Invalid("a local disk has no volume type, no bus of its own and no tag")
    if device.source_type == "image" and destination == "local" and not _is_root(device):
        raise Invalid("a local disk from an image is the root disk", hint="Say boot_index 0, or have a volume made.")
    if device.source_type == "blank" and _is_root(device):
        raise Invalid("a blank disk cannot be booted from")
    return dataclasses.replace(device, destination_type=destination)


def _local(devices: Sequence[BlockDevice], flavor: Flavor) -> tuple[int, int]:
    """(ephemeral GiB, swap MiB): the flavor's own, unless entries say less."""
    blank = [one for one in devices if (one.source_type, one.destination_type) == ("blank", "local")]
    swap = [one.size_gb or 0 for one in blank if one.guest_format == "swap"]
    ephemeral = [one.size_gb or 0 for one in blank if one.guest_format != "swap"]
    for what, asked, most, unit in (
        ("swap", swap, flavor.swap_mb, "MiB"), ("ephemeral", ephemeral, flavor.ephemeral_gb, "GiB")
    ):  # fmt: skip
        if len(asked) > 1:
            raise Invalid(f"a server has one {what} disk, {len(asked)} were asked for")
        if sum(asked) > most:
            raise Invalid(
                f"flavor {flavor.name} has {most} {unit} of {what} disk, {sum(asked)} were asked for",
                hint="Choose a larger flavor.",
            )
    return (ephemeral[0] if ephemeral else flavor.ephemeral_gb), (swap[0] if swap else flavor.swap_mb)


def _disk(session: Session, ctx: Context, device: BlockDevice, *, image: Image | None) -> Disk:
    index = device.boot_index if device.boot_index is not None and device.boot_index >= 0 else None
    if device.source_type == "volume":
        assert device.uuid is not None  # as checked
        volume = volumes.find(session, ctx, device.uuid)
        if volume.project_id != ctx.project_id:
            raise Invalid(f"volume {volume.name or volume.id} is of another project")
        if _is_root(device) and not volume.bootable:
            raise Invalid(
                f"volume {volume.name or volume.id} is not bootable", hint="skydeck volume set --bootable, if it is."
            )
        return Disk(device, index, volume=volume, size_gb=volume.size_gb)
    type = types.chosen(session, ctx, device.volume_type)
    if device.source_type == "blank":
        return Disk(device, index, size_gb=device.size_gb or 0, type=type)
    if device.source_type == "image":
        source = _bootable(session, ctx, device.uuid, image)
        needed = max(source.min_disk_gb, -(-(source.virtual_size or 0) // _GIB), 1)
        return Disk(device, index, image=source, size_gb=_at_least(device, needed, source.name), type=type)
    assert device.uuid is not None
    snapshot = snapshots.find(session, ctx, device.uuid)
    if snapshot.status != "available":
        raise Invalid(
            f"snapshot {snapshot.name or snapshot.id} is {snapshot.status}", hint="Wait until it is available."
        )
    size = _at_least(device, snapshot.size_gb, snapshot.name or snapshot.id)
    if device.volume_type is None:
        of = session.get_one(Volume, snapshot.volume_id).type_id
        type = type if of is None else session.get_one(VolumeType, of)
    return Disk(device, index, snapshot=snapshot, size_gb=size, type=type)


def _at_least(device: BlockDevice, needed: int, source: str) -> int:
    if device.size_gb is not None and device.size_gb < needed:
        raise Invalid(f"a volume of {device.size_gb} GiB cannot hold {source}, which needs {needed}")
    return device.size_gb or needed


def _bootable(session: Session, ctx: Context, named: str | None, image: Image | None) -> Image:
    """An image that a disk can be made of. Raises Invalid."""
    if named is not None:
        image = images.find(session, ctx, named)
    if image is None:
        raise Invalid("a disk from an image needs to say which")
    if image.status != "active":
        raise Invalid(f"image {image.name} is {image.status}", hint="Only an active image can be booted.")
    if MAPPING in image.properties:
        raise Invalid(
            f"image {image.name} stands for volumes and has no bytes of its own", hint="Launch from it: --image."
        )
    if image.disk_format in ("aki", "ari"):
        raise Invalid(
            f"image {image.name} is a {'kernel' if image.disk_format == 'aki' else 'ramdisk'}",
            hint="Set it as kernel_id or ramdisk_id of a disk image.",
        )
    for key in ("kernel_id", "ramdisk_id"):
        if key in image.properties:
            part = images.find(session, ctx, image.properties[key])
            if part.status != "active":
                raise Invalid(f"the {key} of image {image.name} is {part.status}")
    return image


def _check_local_size(image: Image, flavor: Flavor) -> None:
    needed = max(image.min_disk_gb, -(-(image.virtual_size or 0) // _GIB))
    if flavor.disk_gb and flavor.disk_gb < needed:
        raise Invalid(
            f"flavor {flavor.name} has a disk of {flavor.disk_gb} GiB, image {image.name} needs {needed}",
            hint="Choose a larger flavor.",
        )


def _of_volume(session: Session, root: Disk) -> tuple[dict[str, str], str, int]:
    """(properties, name, least RAM) of the image that the root volume was made from."""
    if root.image is not None:
        return dict(root.image.properties), root.image.name, root.image.min_ram_mb
    volume = root.volume
    if volume is None and root.snapshot is not None:
        volume = session.get_one(Volume, root.snapshot.volume_id)
    assert volume is not None  # a blank disk is never the root
    kept = volume.image_properties
    properties = {key: value for key, value in kept.items() if key not in _OF_THE_IMAGE}
    return properties, kept.get("image_name", ""), int(kept.get("min_ram", 0) or 0)


_OF_THE_IMAGE: Final = frozenset(
    {"image_id", "image_name", "disk_format", "container_format", "min_disk", "min_ram", "size", "checksum"}
)
"""What a volume remembers of its image besides properties."""


def _mapped(image: Image) -> tuple[BlockDevice, ...]:
    """The disks of a mapping-only image. Raises Invalid for a mapping nobody can read."""
    try:
        entries = json.loads(image.properties[MAPPING])
        return tuple(_entry(entry) for entry in entries)
    except (ValueError, TypeError, KeyError, AttributeError) as bad:
        raise Invalid(f"the {MAPPING} of image {image.name} cannot be read", hint="Make the image anew.") from bad


def _entry(entry: dict[str, Any]) -> BlockDevice:
    """As nova and glance write one: snake case, the source under its own name."""
    source = str(entry["source_type"])
    boot_index, size = entry.get("boot_index"), entry.get("volume_size")
    return BlockDevice(
        source_type=source,
        uuid=entry.get(f"{source}_id") or entry.get("uuid"),
        destination_type=entry.get("destination_type") or "",
        boot_index=None if boot_index is None else int(boot_index),
        size_gb=None if size is None else int(size),
        delete_on_termination=bool(entry.get("delete_on_termination")),
        volume_type=entry.get("volume_type"),
        disk_bus=entry.get("disk_bus") or "",
        device_type=entry.get("device_type") or "disk",
        guest_format=entry.get("guest_format"),
        tag=entry.get("tag") or "",
    )
