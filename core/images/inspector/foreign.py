"""Signatures of formats that are never accepted, so that a file carrying one is not taken for a raw disk."""

from __future__ import annotations

from typing import Final

from core.images.inspector.model import SECTOR, Window

_UNPACK: Final = "unpack it and add the disk inside"
_CONVERT: Final = "convert it first: qemu-img convert -O qcow2 SOURCE COPY"

_SIGNATURES: Final = (
    (0, b"QED\0", "qed", _CONVERT),
    (0, b"OOOM", "cow", _CONVERT),
    (0, b"LUKS\xba\xbe", "luks", "decrypt it first with qemu-img convert"),
    (0, b"WithoutFreeSpace", "parallels", _CONVERT),
    (0, b"WithouFreSpacExt", "parallels", _CONVERT),
    (0, b"Bochs Virtual HD Image", "bochs", _CONVERT),
    (0, b"#!/bin/sh\n#V2.0 Format\n", "cloop", _CONVERT),
    (0, b"PK\x03\x04", "zip", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "7z", _UNPACK),
    (0, b"BZh", "bzip2", _UNPACK),
    (257, b"ustar", "tar or ova", _UNPACK),
    (-SECTOR, b"koly", "dmg", _CONVERT),
)
"""(byte, from the end when negative; magic; name; hint)."""


def foreign(window: Window) -> tuple[str, str] | None:
    """Name and hint of the first such format found, or None."""
    for offset, magic, name, hint in _SIGNATURES:
        if window.peek(offset if offset >= 0 else window.size + offset, len(magic)) == magic:
            return name, hint
    return None
