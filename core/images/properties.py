"""Properties that mean something to the cloud, and what they may be (glance/metadefs, nova/objects/image_meta.py).

All other properties are the project's own, and any text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from core import names
from core.errors import Forbidden, Invalid, QuotaExceeded

MOST: Final = 128
"""Properties of one image (glance's image_property_quota)."""

LONGEST_VALUE: Final = 65535
"""Characters; a mapping-only image keeps its disks in one value."""

_YES_NO: Final = ("yes", "no")

ALLOWED: Final[dict[str, tuple[str, ...]]] = {
    "architecture": (
        "x86_64", "aarch64", "i686", "armv7l", "ppc64", "ppc64le", "riscv64", "s390x",
    ),
    "hw_disk_bus": ("virtio", "scsi", "sata", "ide", "usb"),
    "hw_cdrom_bus": ("scsi", "sata", "ide", "usb", "virtio"),
    "hw_vif_model": ("virtio", "e1000", "e1000e", "rtl8139"),
    "hw_firmware_type": ("bios", "uefi"),
    "hw_machine_type": ("q35", "pc"),
    "hw_video_model": ("virtio", "vga", "none"),
    "hw_qemu_guest_agent": _YES_NO,
    "os_type": ("linux", "windows"),
    "os_require_quiesce": _YES_NO,
}  # fmt: skip
"""Name to the values it may have."""

RESERVED: Final = frozenset(
    {
        "checksum", "container_format", "created_at", "deleted", "deleted_at", "disk_format", "file", "id", "location",
        "locations", "members", "min_disk", "min_ram", "name", "os_hash_algo", "os_hash_value", "os_hidden", "owner",
        "protected", "schema", "self", "size", "status", "stores", "tags", "updated_at", "virtual_size", "visibility",
    }
)  # fmt: skip
"""Fields of an image: no property may be called so."""


def check(properties: Mapping[str, str]) -> dict[str, str]:
    """The properties as they are kept. Raises Invalid, naming what may stand there; Forbidden; QuotaExceeded."""
    checked: dict[str, str] = {}
    for key, value in properties.items():
        names.check(key, "property")
        if key in RESERVED or key.startswith("os_glance"):
            raise Forbidden(f"{key} is a field of images and no property", hint="skydeck image set has options for it.")
        if len(value) > LONGEST_VALUE:
            raise Invalid(f"property {key} has {len(value)} characters", hint=f"At most {LONGEST_VALUE}.")
        known = ALLOWED.get(key)
        if known is not None:
            value = value.lower()
            if value not in known:
                raise Invalid(f"{key} cannot be {value!r}", hint=f"One of {', '.join(known)}.")
        checked[key] = value
    check_count(checked)
    return checked


def check_count(properties: Mapping[str, str]) -> None:
    """Raises QuotaExceeded."""
    if len(properties) > MOST:
        raise QuotaExceeded(f"an image has at most {MOST} properties, not {len(properties)}")
