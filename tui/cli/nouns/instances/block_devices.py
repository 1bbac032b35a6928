"""The disks of a new server, as openstack's client spells them: --volume, --snapshot, --boot-from-volume,
--block-device, --block-device-mapping, --ephemeral and --swap, to core's BlockDevice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from core.errors import Invalid
from tui.cli.options import pairs

KEYS: Final = (
    "uuid",
    "source_type",
    "destination_type",
    "disk_bus",
    "device_type",
    "device_name",
    "volume_size",
    "guest_format",
    "boot_index",
    "delete_on_termination",
    "tag",
    "volume_type",
)
"""Of --block-device, in openstack's client."""

_TRUE: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def devices(
    *,
    image: str | None,
    volume: str | None,
    snapshot: str | None,
    boot_from_volume: int | None,
    delete_on_termination: bool,
    mapped: list[str],
    block_devices: list[str],
    ephemerals: list[str],
    swap: int | None,
) -> tuple[Any, ...]:
    """In the order they were named. Raises Invalid for what contradicts itself."""
    boots = [each for each in (image, volume, snapshot) if each is not None]
    if len(boots) > 1:
        raise Invalid("a server boots from one thing", hint="One of --image, --volume, --snapshot.")
    if boot_from_volume is not None and image is None:
        raise Invalid("--boot-from-volume makes a volume from an image", hint="Name it with --image.")
    if delete_on_termination and boot_from_volume is None and volume is None and snapshot is None:
        raise Invalid("--delete-on-termination is of a boot volume", hint="--boot-from-volume GIB, or --block-device.")
    found = []
    root: dict[str, Any] = {"destination_type": "volume", "boot_index": 0}
    root["delete_on_termination"] = delete_on_termination
    if volume is not None:
        found.append(root | {"source_type": "volume", "uuid": volume})
    elif snapshot is not None:
        found.append(root | {"source_type": "snapshot", "uuid": snapshot})
    elif boot_from_volume is not None:
        found.append(root | {"source_type": "image", "uuid": image, "size_gb": boot_from_volume})
    found += [_mapped(text) for text in mapped]
    found += [_block_device(text) for text in block_devices]
    found += [_ephemeral(text) for text in ephemerals]
    if swap is not None:
        found.append({"source_type": "blank", "destination_type": "local", "guest_format": "swap", "size_gb": swap})
    return tuple(_made(each) for each in found)


def _made(values: Mapping[str, Any]) -> Any:
    from core.compute.instances.block_devices import BlockDevice

    return BlockDevice(**values)


def _mapped(text: str) -> dict[str, Any]:
    """`vdb=ID[:TYPE[:SIZE[:DELETE]]]`, nova's older way."""
    name, equals, rest = text.partition("=")
    id, kind, size, delete, *more = (*rest.split(":"), "", "", "", "")[: max(4, rest.count(":") + 1)]
    if not (name and equals and id) or more:
        raise Invalid(
            f"--block-device-mapping {text!r} cannot be understood", hint="For example vdb=data:volume::false"
        )
    if kind not in ("", "volume", "snapshot", "image"):
        raise Invalid(f"--block-device-mapping: unknown type {kind!r}", hint="volume, snapshot or image.")
    found: dict[str, Any] = {"uuid": id, "source_type": kind or "volume", "destination_type": "volume"}
    if size:
        found["size_gb"] = _number(size, "size")
    found["delete_on_termination"] = _flag(delete or "false", "delete-on-terminate")
    return found


def _block_device(text: str) -> dict[str, Any]:
    """`key=value,…`, or the path of a JSON file that says the same."""
    if "=" not in text and Path(text).exists():
        try:
            given: Any = json.loads(Path(text).read_text())
        except (OSError, ValueError) as bad:
            raise Invalid(f"the block device file {text} cannot be read: {bad}") from bad
        if not isinstance(given, dict):
            raise Invalid(f"{text} describes no block device", hint=f"An object of {', '.join(KEYS)}.")
        given = {str(key): str(value) for key, value in given.items()}
    else:
        given = pairs(text.split(","), "block-device")
    unknown = given.keys() - set(KEYS)
    if unknown:
        raise Invalid(f"unknown in --block-device: {', '.join(sorted(unknown))}", hint=f"{', '.join(KEYS)}.")
    if "uuid" in given:
        # Without one it is an empty disk; with one it is a volume, unless it says otherwise, as in nova.
        given.setdefault("source_type", "volume")
    source = given.get("source_type", "blank")
    found: dict[str, Any] = {
        key: given[key]
        for key in ("uuid", "disk_bus", "device_type", "guest_format", "tag", "volume_type")
        if key in given
    }
    found["source_type"] = source
    found["destination_type"] = given.get("destination_type", "local" if source == "blank" else "volume")
    if "boot_index" in given:
        index = _number(given["boot_index"], "boot_index", least=-1) if given["boot_index"] != "none" else -1
        found["boot_index"] = index if index >= 0 else None
    if "delete_on_termination" in given:
        found["delete_on_termination"] = _flag(given["delete_on_termination"], "delete_on_termination")
    if "volume_size" in given:
        found["size_gb"] = _number(given["volume_size"], "volume_size")
    return found


def _ephemeral(text: str) -> dict[str, Any]:
    """`size=GIB[,format=FORMAT]`."""
    given = pairs(text.split(","), "ephemeral")
    if "size" not in given or given.keys() - {"size", "format"}:
        raise Invalid(f"--ephemeral {text!r} cannot be understood", hint="For example --ephemeral size=10,format=ext4")
    found: dict[str, Any] = {"source_type": "blank", "destination_type": "local"}
    found["size_gb"] = _number(given["size"], "size")
    if "format" in given:
        found["guest_format"] = given["format"]
    return found


def _number(text: str, what: str, *, least: int = 1) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise Invalid(f"{what} cannot be {text!r}", hint=f"A whole number, at least {least}.")
    return value


def _flag(text: str, what: str) -> bool:
    if text.lower() not in _TRUE:
        raise Invalid(f"{what} cannot be {text!r}", hint="true or false.")
    return _TRUE[text.lower()]
