"""ISO 9660 (ECMA-119), handed to QEMU as raw.

The first 32 KiB are the system area, free for a boot loader, and so the place where a polyglot would hide another
format's header; `inspect` refuses any that it knows there.
"""

from __future__ import annotations

import struct
from typing import Final

from core.images.inspector.model import ImageRejected, Inspected, Window, check_virtual_size
from hostd.spec import DiskFormat

_BLOCK: Final = 2048
_DESCRIPTORS_AT: Final = 16 * _BLOCK
_MAX_DESCRIPTORS: Final = 64
_PRIMARY, _TERMINATOR = 1, 255


def signature(window: Window) -> bool:
    return window.peek(_DESCRIPTORS_AT + 1, 5) == b"CD001"


def parse(window: Window) -> Inspected:
    """Raises ImageRejected."""
    primary = _primary(window)
    little, big = struct.unpack("<I", primary[80:84])[0], struct.unpack(">I", primary[84:88])[0]
    block_size = struct.unpack("<H", primary[128:130])[0]
    if little != big or block_size != _BLOCK:
        raise ImageRejected("the iso's primary volume descriptor contradicts itself", "fetch the file again")
    if little * _BLOCK > window.size:
        raise ImageRejected(
            f"the iso declares {little * _BLOCK} bytes and holds {window.size}",
            "the file was cut short: fetch it again and compare its checksum",
        )
    check_virtual_size(window.size)
    label = primary[40:72].decode("ascii", "replace").strip()
    return Inspected(
        format=DiskFormat.ISO,
        virtual_size=window.size,
        size=window.size,
        details={"label": label if label.isprintable() else ""},
    )


def _primary(window: Window) -> bytes:
    for index in range(_MAX_DESCRIPTORS):
        data = window.read(_DESCRIPTORS_AT + index * _BLOCK, _BLOCK, what="iso volume descriptor")
        if data[1:6] != b"CD001" or data[0] == _TERMINATOR:
            break
        if data[0] == _PRIMARY:
            return data
    raise ImageRejected("the iso has no primary volume descriptor", "fetch the file again")
