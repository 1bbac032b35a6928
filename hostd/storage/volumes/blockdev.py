"""How QEMU's own tools are told to open a disk: the whole chain spelled out, so that nothing is probed."""

from __future__ import annotations

import json
from typing import Any, Final

from hostd.drivers import DiskSource

JSON: Final = "json:"
"""What makes QEMU read a file's name as options."""


def options(source: DiskSource, *, read_only: bool = False) -> dict[str, Any]:
    """The block device options (`-blockdev`, `--image-opts` as JSON) of a disk with all that is under it."""
    node: dict[str, Any] = {"driver": source.format, "file": _protocol(source)}
    if read_only:
        node["read-only"] = True
    if source.format == "qcow2":
        # Spelled out also where there is none: a name in a header is not to be believed.
        node["backing"] = None if source.backing is None else options(source.backing, read_only=read_only)
    return node


def name(source: DiskSource) -> str:
    """A file name for qemu-img and qemu-nbd that stands for the whole chain."""
    return JSON + json.dumps(options(source), separators=(",", ":"))


def _protocol(source: DiskSource) -> dict[str, Any]:
    match source.type:
        case "file":
            return {"driver": "file", "filename": source.name}
        case "block":
            return {"driver": "host_device", "filename": source.name}
        case "iscsi":
            ((address, port),) = source.hosts
            target, _, lun = source.name.rpartition("/")
            told = {key: source.options[key] for key in ("initiator-name",) if key in source.options}
            return {
                "driver": "iscsi",
                "transport": "tcp",
                "portal": f"[{address}]:{port}" if ":" in address else f"{address}:{port}",
                "target": target,
                "lun": int(lun),
                **told,
            }
        case "rbd":
            pool, _, image = source.name.partition("/")
            image, _, snapshot = image.partition("@")
            named = {"conf": "config", "user": "user"}
            told = {key: source.options[option] for key, option in named.items() if option in source.options}
            frozen = {"snapshot": snapshot} if snapshot else {}
            return {"driver": "rbd", "pool": pool, "image": image, **frozen, **told}
        case other:
            raise ValueError(f"no such source: {other}")
