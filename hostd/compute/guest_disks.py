"""Which disks a guest has, in which order, under which names. Pure: what it decides, `disk_xml` writes down.

The names (vda, sdb) are libvirt's handles, not the guest's, which goes by the serial. They stay with a disk for as long
as the guest has it, whatever comes and goes beside it: those that the domain has now are `kept`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

from hostd.compute.hardware import IDE, PREFIXES, SATA, SCSI, bus_of
from hostd.drivers import DiskSource
from hostd.spec import DiskLimits, ErrorCode, HostError, InstanceSpec, VolumeDisk
from hostd.storage.disks import BACKING_FORMATS, has_root
from hostd.storage.instances import CONFIG, EPHEMERAL, ROOT, SEED, SWAP, base_file

UNLIMITED: Final = DiskLimits()


@attrs.frozen(kw_only=True)
class Disk:
    """One disk of a guest."""

    source: DiskSource
    target: str
    """libvirt's name of it, unique in the guest."""
    bus: str
    serial: str = ""
    """What the guest knows it by: 20 characters of it on virtio, sata and ide."""
    cdrom: bool = False
    read_only: bool = False
    shareable: bool = False
    boot: int | None = None
    """Its place in the boot order, from 1."""
    limits: DiskLimits = UNLIMITED
    backing_is_shared: bool = False
    """Other guests' disks stand on the same file: its owner stays as it is."""


def disks(
    spec: InstanceSpec, directory: Path, sources: Mapping[str, DiskSource], kept: Mapping[str, str]
) -> tuple[Disk, ...]:
    """All disks, in the order the guest finds them. `sources` has every volume of `spec`; `kept` targets by volume."""
    names = targets(spec, kept)
    volumes = {
        disk.volume: volume(spec, disk, sources[disk.volume], target=names[disk.volume]) for disk in spec.volumes
    }
    local = [_local(spec, directory, name, role, target=names[name]) for name, role in _files(spec)]
    first = [volumes.pop(disk.volume) for disk in spec.volumes if disk.boot_index == 0]
    return tuple(_in_boot_order(spec, [*first, *local, *volumes.values()]))


def cdroms(spec: InstanceSpec, directory: Path) -> tuple[Disk, ...]:
    """The config drives."""
    bus = cdrom_bus(spec)
    return tuple(
        Disk(
            source=DiskSource(type="file", format="raw", name=str(directory / name)), target=target, bus=bus, cdrom=True
        )
        for name, target in zip((CONFIG, SEED), _cdrom_names(spec), strict=False)
    )


def cdrom_bus(spec: InstanceSpec) -> str:
    """Cloud kernels have no AHCI driver: a CD on q35's own SATA would be invisible to them. A guest that asks for SATA
    or IDE has no driver for virtio-scsi."""
    return spec.hardware.disk_bus if spec.hardware.disk_bus in (SATA, IDE) else SCSI


def targets(spec: InstanceSpec, kept: Mapping[str, str]) -> dict[str, str]:
    """The target of each disk: by file name for local ones, by uuid for volumes.

    `kept` names what the domain has now, also under disks that are about to go: none of these is given to another.
    """
    names: dict[str, str] = {}
    used = set(_cdrom_names(spec))
    prefix = PREFIXES[spec.hardware.disk_bus]
    first = [disk.volume for disk in spec.volumes if disk.boot_index == 0]
    for name in [*first, *(name for name, _ in _files(spec))]:
        bus = next((bus_of(spec, disk.bus) for disk in spec.volumes if disk.volume == name), None)
        names[name] = _free(PREFIXES[bus] if bus else prefix, used)
        used.add(names[name])
    for disk in spec.volumes:
        had = kept.get(disk.volume, "")
        if disk.volume not in names and had not in used and had.startswith(PREFIXES[bus_of(spec, disk.bus)]):
            names[disk.volume] = had
            used.add(had)
    used |= set(kept.values())
    for disk in spec.volumes:
        if disk.volume not in names:
            names[disk.volume] = _free(PREFIXES[bus_of(spec, disk.bus)], used)
            used.add(names[disk.volume])
    return names


def _cdrom_names(spec: InstanceSpec) -> tuple[str, ...]:
    prefix = PREFIXES[cdrom_bus(spec)]
    return (f"{prefix}a", f"{prefix}b") if spec.config_drive else ()


def _free(prefix: str, used: Collection[str]) -> str:
    return next(name for name in _names(prefix) if name not in used)


def _names(prefix: str) -> Iterator[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    yield from (prefix + letter for letter in letters)
    yield from (prefix + first + second for first in letters for second in letters)


def _files(spec: InstanceSpec) -> list[tuple[str, str]]:
    """File name and role of each local disk."""
    files = ((ROOT, "root", has_root(spec)), (EPHEMERAL, "ephemeral0", spec.ephemeral_gb), (SWAP, "swap", spec.swap_mb))
    return [(name, role) for name, role, there in files if there]


def _local(spec: InstanceSpec, directory: Path, name: str, role: str, *, target: str) -> Disk:
    backing = None
    if name == ROOT and spec.image and (base := base_file(spec)):
        kind = BACKING_FORMATS[spec.image.format]
        backing = DiskSource(type="file", format=kind, name=str(directory / base))
    kind = "qcow2" if name.endswith(".qcow2") else "raw"
    return Disk(
        source=DiskSource(type="file", format=kind, name=str(directory / name), backing=backing),
        target=target,
        bus=spec.hardware.disk_bus,
        # The guest may name its disks otherwise than we do; the serial (20 characters at most) tells which is which.
        serial=f"{role}-{spec.uuid[:8]}",
        backing_is_shared=True,
    )


def volume(spec: InstanceSpec, asked: VolumeDisk, source: DiskSource, *, target: str) -> Disk:
    """One volume as a disk. Raises HostError(BAD_STATE) for one that cannot be shared."""
    if asked.shareable and source.format != "raw":
        raise HostError(
            ErrorCode.BAD_STATE,
            f"volume {asked.volume} is {source.format}: its format keeps several guests from sharing it",
            hint="keep volumes that several instances attach on a backend of raw disks (lvm, iscsi, rbd)",
        )
    return Disk(
        source=source,
        target=target,
        bus=bus_of(spec, asked.bus),
        serial=asked.volume,
        read_only=asked.read_only,
        shareable=asked.shareable,
        limits=asked.limits,
    )


def _in_boot_order(spec: InstanceSpec, found: list[Disk]) -> Iterator[Disk]:
    """With their places in the order, once a volume has one. A root disk of the guest's own comes first."""
    wished = {disk.volume: disk.boot_index for disk in spec.volumes if disk.boot_index is not None}
    if not boots_by_index(spec):
        yield from found
        return
    if has_root(spec):
        wished[f"root-{spec.uuid[:8]}"] = -1
    order = {serial: place for place, serial in enumerate(sorted(wished, key=lambda each: wished[each]), start=1)}
    for disk in found:
        yield attrs.evolve(disk, boot=order.get(disk.serial))


def boots_by_index(spec: InstanceSpec) -> bool:
    """Whether each disk says its own place in the boot order: then the guest as a whole may not."""
    return spec.kernel is None and any(disk.boot_index is not None for disk in spec.volumes)
