"""What a guest's hardware may be called, and what goes together: whatever else an image asks for is refused here,
before libvirt sees it."""

from __future__ import annotations

from typing import Final

from hostd.spec import ErrorCode, HostError, InstanceSpec, VolumeDisk

VIRTIO, SCSI, SATA, IDE, USB = "virtio", "scsi", "sata", "ide", "usb"

PREFIXES: Final = {VIRTIO: "vd", SCSI: "sd", SATA: "sd", USB: "sd", IDE: "hd"}
"""How libvirt names the disks of each bus."""

HOT_PLUGGED: Final = frozenset({VIRTIO, SCSI})
"""Buses on which QEMU takes and gives disks while the guest runs."""

WRITABLE: Final = frozenset({SATA, IDE})
"""Buses on which QEMU has no disk that cannot be written to."""

Q35, PC = "q35", "pc"

FAMILIES: Final = {Q35: "pc-q35-", PC: "pc-i440fx-"}
"""How the versioned names of each machine begin."""

BIOS, UEFI = "bios", "uefi"

_KNOWN: Final = {
    "disk_bus": frozenset(PREFIXES),
    "vif_model": frozenset({"virtio", "e1000", "e1000e", "rtl8139"}),
    "firmware": frozenset({BIOS, UEFI}),
    "machine": frozenset(FAMILIES),
    "video": frozenset({"", "virtio", "vga", "none"}),
}


def check(spec: InstanceSpec) -> None:
    """Raises HostError(PROTOCOL) for hardware that does not exist, or not together."""
    for name, known in _KNOWN.items():
        if (value := getattr(spec.hardware, name)) not in known:
            raise _refused(f"{name} {value!r} is none of {', '.join(sorted(known - {''}))}")
    for disk in spec.volumes:
        if disk.bus and disk.bus not in PREFIXES:
            raise _refused(f"bus {disk.bus!r} of volume {disk.volume} is none of {', '.join(PREFIXES)}")
        if disk.read_only and bus_of(spec, disk.bus) in WRITABLE:
            raise _refused(f"QEMU has no read-only disk on {bus_of(spec, disk.bus)}: volume {disk.volume}")
        _check_limits(disk)
    if IDE in buses(spec) and spec.hardware.machine != PC:
        raise _refused("only the machine pc has ide")
    if len({disk.volume for disk in spec.volumes}) != len(spec.volumes):
        raise _refused("a volume is attached twice")
    if len([disk for disk in spec.volumes if disk.boot_index == 0]) > 1:
        raise _refused("two volumes have boot index 0")


def bus_of(spec: InstanceSpec, bus: str = "") -> str:
    """The bus of a disk that asks for `bus`, or leaves it to the guest."""
    return bus or spec.hardware.disk_bus


def buses(spec: InstanceSpec) -> frozenset[str]:
    """Every bus that disks of this guest are on."""
    return frozenset({spec.hardware.disk_bus, *(bus_of(spec, disk.bus) for disk in spec.volumes)})


def _check_limits(disk: VolumeDisk) -> None:
    for what in ("iops", "bytes"):
        total, *parts = (getattr(disk.limits, f"{kind}_{what}") for kind in ("total", "read", "write"))
        if min(total, *parts) < 0:
            raise _refused(f"a limit of volume {disk.volume} is below 0")
        if total and any(parts):
            raise _refused(f"volume {disk.volume} has a limit of total {what} and one of reads or writes: choose")


def _refused(what: str) -> HostError:
    return HostError(ErrorCode.PROTOCOL, what, hint="correct the image's hw_* properties, or the volume's")
