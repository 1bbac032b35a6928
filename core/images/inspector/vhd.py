"""VHD, called vpc by QEMU (Microsoft "Virtual Hard Disk Image Format Specification", 2006).

Fixed disks are raw bytes with a footer; dynamic disks keep a copy of the footer at byte 0. A differencing disk names
its parent by path and is refused.
"""

from __future__ import annotations

import struct
from typing import Final

import attrs

from core.images.inspector.model import (
    SECTOR,
    ImageRejected,
    Inspected,
    Window,
    check_virtual_size,
    is_power_of_two,
)
from hostd.spec import DiskFormat

COOKIE: Final = b"conectix"
_FOOTER: Final = struct.Struct(">8sIIQI4sIIQQHBBII16sB")
_DYNAMIC: Final = struct.Struct(">8sQQIIII16sI4x512s192s256x")
_FIXED, _DYNAMIC_TYPE, _DIFFERENCING = 2, 3, 4
_MAX_GEOMETRY: Final = 65535 * 16 * 255
_SIZE_BY_BYTES: Final = (b"win ", b"qem2", b"d2v ", b"tap\0", b"CTXS")
"""Creators whose `current size` QEMU trusts; the sizes of others follow from their geometry (qemu/block/vpc.c)."""

_RECREATE: Final = "write a plain copy: qemu-img convert -O vpc -o subformat=dynamic SOURCE COPY"


@attrs.frozen(kw_only=True)
class _Footer:
    data_offset: int
    creator: bytes
    current_size: int
    geometry_sectors: int
    kind: int


def signature(window: Window) -> bool:
    return window.peek(0, 8) == COOKIE or window.peek(window.size - SECTOR, 8) == COOKIE


def parse(window: Window) -> Inspected:
    """Raises ImageRejected."""
    at_end = window.read(window.size - SECTOR, SECTOR, what="vhd footer")
    footer = _read_footer(at_end)
    if footer.kind == _DIFFERENCING:
        raise ImageRejected("the vhd is a difference to a parent disk", f"flatten it: {_RECREATE}")
    virtual_size = _virtual_size(footer)
    check_virtual_size(virtual_size)
    at_start = window.read(0, SECTOR, what="vhd header")
    if footer.kind == _FIXED:
        # QEMU prefers what is at byte 0, which in a fixed disk is the guest's to write.
        if at_start.startswith(COOKIE):
            raise ImageRejected("a fixed vhd must not begin with a vhd header", _RECREATE)
        if max(virtual_size, footer.current_size) > window.size - SECTOR:
            raise ImageRejected("the fixed vhd holds less than it declares", "fetch the file again")
    elif footer.kind == _DYNAMIC_TYPE:
        if at_start != at_end:
            raise ImageRejected("the vhd footer contradicts its copy at the start", _RECREATE)
        _check_dynamic(window, footer, max(virtual_size, footer.current_size))
    else:
        raise ImageRejected(f"vhd disk type {footer.kind} is not supported", _RECREATE)
    return Inspected(
        format=DiskFormat.VHD,
        virtual_size=virtual_size,
        size=window.size,
        details={"subformat": "fixed" if footer.kind == _FIXED else "dynamic"},
    )


def _read_footer(data: bytes) -> _Footer:
    fields = _FOOTER.unpack_from(data)
    if fields[0] != COOKIE:
        raise ImageRejected("the file does not end with a vhd footer", "fetch the file again: it seems cut short")
    if fields[2] >> 16 != 1:
        raise ImageRejected(f"vhd version {fields[2]:#x} is not supported", _RECREATE)
    if fields[14] != _checksum(data, at=64):
        raise ImageRejected("the vhd footer's checksum is wrong", "fetch the file again")
    return _Footer(
        data_offset=fields[3],
        creator=fields[5],
        current_size=fields[9],
        geometry_sectors=fields[10] * fields[11] * fields[12],
        kind=fields[13],
    )


def _check_dynamic(window: Window, footer: _Footer, needed: int) -> None:
    header = window.read(footer.data_offset, _DYNAMIC.size, what="vhd dynamic header")
    fields = _DYNAMIC.unpack(header)
    cookie, table_offset, entries, block, checksum = fields[0], fields[2], fields[4], fields[5], fields[6]
    if cookie != b"cxsparse" or checksum != _checksum(header, at=36):
        raise ImageRejected("the vhd dynamic header is damaged", "fetch the file again")
    parent_id, parent_name, locators = fields[7], fields[9], fields[10]
    if any(parent_id) or any(parent_name) or any(locators):
        raise ImageRejected("the vhd names a parent disk", f"flatten it: {_RECREATE}")
    if not is_power_of_two(block) or not SECTOR <= block <= 256 * 1024 * 1024:
        raise ImageRejected(f"vhd blocks of {block} bytes are not sane", _RECREATE)
    if entries * block < needed:
        raise ImageRejected("the vhd block table is too short for its disk", _RECREATE)
    if not window.holds(table_offset, entries * 4):
        raise ImageRejected("the vhd block table lies outside the file", _RECREATE)


def _virtual_size(footer: _Footer) -> int:
    """Bytes as QEMU will count them."""
    if footer.creator in _SIZE_BY_BYTES or footer.geometry_sectors == _MAX_GEOMETRY:
        return footer.current_size // SECTOR * SECTOR
    return footer.geometry_sectors * SECTOR


def _checksum(data: bytes, *, at: int) -> int:
    """The ones' complement of the sum of all bytes, those of the checksum at `at` taken as zero."""
    return ~(sum(data) - sum(data[at : at + 4])) & 0xFFFFFFFF
