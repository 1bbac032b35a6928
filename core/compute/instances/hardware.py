"""What an image's properties ask of a guest's hardware, in glance's words, checked before anything is promised."""

from __future__ import annotations

from typing import Final

from core.errors import Invalid
from core.images.properties import ALLOWED
from hostd.spec import Hardware

BUSES: Final = ALLOWED["hw_disk_bus"]

_FIELDS: Final = {
    "hw_disk_bus": "disk_bus",
    "hw_vif_model": "vif_model",
    "hw_firmware_type": "firmware",
    "hw_machine_type": "machine",
    "hw_video_model": "video",
    "os_type": None,
}
"""Image property to the field of Hardware that it is; None: it is checked here, and told elsewhere."""


def hardware(properties: dict[str, str]) -> Hardware:
    """The hardware of a guest whose image has these properties. Raises Invalid, naming the property."""
    asked: dict[str, str] = {}
    for name, field in _FIELDS.items():
        if (value := properties.get(name)) is None:
            continue
        if value not in ALLOWED[name]:
            raise Invalid(
                f"image property {name} is {value[:40]!r}",
                hint=f"It can be {', '.join(ALLOWED[name])}: skydeck image set --property {name}=VALUE IMAGE",
            )
        if field is not None:
            asked[field] = value
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
