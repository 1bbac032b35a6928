"""VDI, VirtualBox's disk image (qemu/block/vdi.c; VirtualBox VDICore.h). Differencing images are refused."""

from __future__ import annotations

import struct
from typing import Final

from core.images.inspector.model import SECTOR, ImageRejected, Inspected, Window, check_virtual_size
from hostd.spec import DiskFormat

_MAGIC_AT: Final = 64
MAGIC: Final = b"\x7f\x10\xda\xbe"
_HEADER: Final = struct.Struct("<64s4sIIII256sIIIIIIIQIIII16s16s16s16s")
_VERSION: Final = 0x00010001
_BLOCK: Final = 1024 * 1024
_SUBFORMATS: Final = {1: "dynamic", 2: "static"}

_RECREATE: Final = "write a plain copy: qemu-img convert -O vdi SOURCE COPY"


def signature(window: Window) -> bool:
    return window.peek(_MAGIC_AT, 4) in (MAGIC, MAGIC[::-1])


def parse(window: Window) -> Inspected:
    """Raises ImageRejected."""
    fields = _HEADER.unpack(window.read(0, _HEADER.size, what="vdi header"))
    magic, version, kind = fields[1], fields[2], fields[4]
    map_offset, data_offset = fields[7], fields[8]
    sector_size, virtual_size, block, block_extra, blocks = fields[12], fields[14], fields[15], fields[16], fields[17]
    link, parent = fields[21], fields[22]
    if magic != MAGIC or version != _VERSION:
        raise ImageRejected(f"vdi version {version:#x} is not supported", _RECREATE)
    if any(link) or any(parent):
        raise ImageRejected("the vdi is a difference to a parent disk", f"flatten it: {_RECREATE}")
    if kind not in _SUBFORMATS:
        raise ImageRejected(f"vdi image type {kind} is not supported", _RECREATE)
    if sector_size != SECTOR or block != _BLOCK or block_extra:
        raise ImageRejected(f"vdi blocks of {block}+{block_extra} bytes are not supported", _RECREATE)
    check_virtual_size(virtual_size)
    if blocks * block < virtual_size:
        raise ImageRejected("the vdi block map is too short for its disk", _RECREATE)
    if map_offset % SECTOR or data_offset % SECTOR or map_offset < SECTOR or data_offset < map_offset + blocks * 4:
        raise ImageRejected("the vdi block map and data overlap", _RECREATE)
    if not window.holds(map_offset, blocks * 4):
        raise ImageRejected("the vdi block map lies outside the file", _RECREATE)
    return Inspected(
        format=DiskFormat.VDI,
        virtual_size=virtual_size,
        size=window.size,
        details={"subformat": _SUBFORMATS[kind]},
    )
