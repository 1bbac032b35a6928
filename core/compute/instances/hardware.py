"""What an image's properties ask of a guest's hardware, in glance's words, checked before anything is promised."""

from __future__ import annotations

from typing import Final

from core.errors import Invalid
from hostd.spec import Hardware

BUSES: Final = ("virtio", "scsi", "sata", "ide", "usb")
"""Of disks."""

_ALLOWED: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    # image property: (field of Hardware, its values)
    "hw_disk_bus": ("disk_bus", BUSES),
    "hw_vif_model": ("vif_model", ("virtio", "e1000", "e1000e", "rtl8139")),
    "hw_firmware_type": ("firmware", ("bios", "uefi")),
    "hw_machine_type": ("machine", ("q35", "pc")),
    "hw_video_model": ("video", ("virtio", "vga", "none")),
}

_LONGEST_OS_TYPE: Final = 32


def hardware(properties: dict[str, str]) -> Hardware:
    """The hardware of a guest whose image has these properties. Raises Invalid, naming the property."""
    asked: dict[str, str] = {}
    for name, (field, values) in _ALLOWED.items():
        if (value := properties.get(name)) is None:
            continue
        if value not in values:
            raise Invalid(
                f"image property {name} is {value[:40]!r}",
                hint=f"It can be {', '.join(values)}: skydeck image set --property {name}={values[0]} IMAGE",
            )
        asked[field] = value
    os_type = properties.get("os_type", "")
    if os_type and not (len(os_type) <= _LONGEST_OS_TYPE and os_type.isascii() and os_type.isalnum()):
        raise Invalid(f"image property os_type is {os_type[:40]!r}", hint="It can be linux or windows.")
    found = Hardware(**asked)
    check_bus(found.disk_bus, found)
    return found


def check_bus(bus: str, of: Hardware) -> None:
    """A disk of this guest can be on that bus; empty is its own. Raises Invalid."""
    if bus and bus not in BUSES:
        raise Invalid(f"{bus[:40]!r} is no bus of disks", hint=f"One of {', '.join(BUSES)}.")
    if bus == "ide" and of.machine == "q35":
        raise Invalid(
            "a q35 machine has no ide bus", hint="Use sata, or set the image's hw_machine_type=pc: it has ide."
        )
