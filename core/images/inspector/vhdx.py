"""VHDX (Microsoft [MS-VHDX]). An image with a parent, or with a log that was not replayed, is refused."""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple
from uuid import UUID

from core.images.inspector.model import ImageRejected, Inspected, Window, check_virtual_size, is_power_of_two
from hostd.spec import DiskFormat

MAGIC: Final = b"vhdxfile"
_KIB: Final = 1024
_MIB: Final = 1024 * 1024
_HEADERS_AT: Final = (64 * _KIB, 128 * _KIB)
_HEADER_BYTES: Final = 4 * _KIB
_HEADER: Final = struct.Struct("<4sIQ16s16s16sHHIQ")
_REGIONS_AT: Final = (192 * _KIB, 256 * _KIB)
_TABLE_BYTES: Final = 64 * _KIB
_REGION_ENTRY: Final = struct.Struct("<16sQII")
_METADATA_ENTRY: Final = struct.Struct("<16sIIII")
_MAX_ENTRIES: Final = 2047

_REGION_BAT: Final = UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
_REGION_METADATA: Final = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
_FILE_PARAMETERS: Final = UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
_DISK_SIZE: Final = UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
_DISK_ID: Final = UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
_LOGICAL_SECTOR: Final = UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
_PHYSICAL_SECTOR: Final = UUID("cda348c7-445d-4471-9cc9-e9885251c556")
_PARENT_LOCATOR: Final = UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
_KNOWN_ITEMS: Final = {_FILE_PARAMETERS, _DISK_SIZE, _DISK_ID, _LOGICAL_SECTOR, _PHYSICAL_SECTOR}
_HAS_PARENT: Final = 0x2

_RECREATE: Final = "write a plain copy: qemu-img convert -O vhdx SOURCE COPY"


class _Extent(NamedTuple):
    offset: int
    length: int


def signature(window: Window) -> bool:
    return window.peek(0, 8) == MAGIC


def parse(window: Window) -> Inspected:
    """Raises ImageRejected."""
    _check_headers(window)
    regions = _regions(window)
    block, virtual_size, sector = _metadata(window, regions[_REGION_METADATA])
    check_virtual_size(virtual_size)
    if sector not in (512, 4096):
        raise ImageRejected(f"vhdx sectors of {sector} bytes are not sane", _RECREATE)
    if not is_power_of_two(block) or not _MIB <= block <= 256 * _MIB or virtual_size % sector:
        raise ImageRejected(f"vhdx blocks of {block} bytes are not sane", _RECREATE)
    # One bitmap entry follows each chunk's payload entries ([MS-VHDX] 2.5).
    blocks = -(-virtual_size // block)
    chunk = (1 << 23) * sector // block
    if (blocks + (blocks - 1) // chunk) * 8 > regions[_REGION_BAT].length:
        raise ImageRejected("the vhdx block table is too short for its disk", _RECREATE)
    return Inspected(
        format=DiskFormat.VHDX,
        virtual_size=virtual_size,
        size=window.size,
        details={"block_size": block, "sector_size": sector},
    )


def _check_headers(window: Window) -> None:
    """The newer of the two valid headers must have no log to replay."""
    newest: tuple[Any, ...] | None = None
    for offset in _HEADERS_AT:
        data = window.read(offset, _HEADER_BYTES, what="vhdx header")
        fields = _HEADER.unpack_from(data)
        if fields[0] == b"head" and fields[1] == _crc32c(data) and (newest is None or fields[2] > newest[2]):
            newest = fields
    if newest is None:
        raise ImageRejected("neither vhdx header has a valid checksum", "fetch the file again")
    log_guid, log_version, version = newest[5], newest[6], newest[7]
    if version != 1 or log_version != 0:
        raise ImageRejected(f"vhdx version {version} (log {log_version}) is not supported", _RECREATE)
    if log_guid != bytes(16):
        raise ImageRejected(
            "the vhdx has a log that was not replayed: it was not closed cleanly",
            "repair it first: qemu-img check -r all IMAGE",
        )


def _regions(window: Window) -> dict[UUID, _Extent]:
    """The block table's and the metadata's places, from the region table and its identical copy."""
    first, second = (window.read(at, _TABLE_BYTES, what="vhdx region table") for at in _REGIONS_AT)
    signature_, checksum, count = struct.unpack_from("<4sII", first)
    if signature_ != b"regi" or checksum != _crc32c(first) or count > _MAX_ENTRIES:
        raise ImageRejected("the vhdx region table is damaged", "fetch the file again")
    if first != second:
        raise ImageRejected("the vhdx region table contradicts its copy", _RECREATE)
    regions: dict[UUID, _Extent] = {}
    for index in range(count):
        guid, offset, length, _required = _REGION_ENTRY.unpack_from(first, 16 + index * _REGION_ENTRY.size)
        kind = UUID(bytes_le=guid)
        if kind not in (_REGION_BAT, _REGION_METADATA) or kind in regions:
            raise ImageRejected(f"the vhdx has an unknown or repeated region {kind}", _RECREATE)
        if offset % _MIB or offset < _MIB or not window.holds(offset, length):
            raise ImageRejected("a vhdx region lies outside the file", _RECREATE)
        regions[kind] = _Extent(offset, length)
    if len(regions) != 2:
        raise ImageRejected("the vhdx lacks its block table or its metadata", _RECREATE)
    return regions


def _metadata(window: Window, region: _Extent) -> tuple[int, int, int]:
    """Block size, virtual size and logical sector size, in bytes."""
    if region.length < _TABLE_BYTES:
        raise ImageRejected("the vhdx metadata region is too short", _RECREATE)
    table = window.read(region.offset, _TABLE_BYTES, what="vhdx metadata table")
    signature_, count = struct.unpack_from("<8s2xH", table)
    if signature_ != b"metadata" or count > _MAX_ENTRIES:
        raise ImageRejected("the vhdx metadata table is damaged", "fetch the file again")
    items: dict[UUID, _Extent] = {}
    for index in range(count):
        guid, offset, length, flags, _reserved = _METADATA_ENTRY.unpack_from(table, 32 + index * _METADATA_ENTRY.size)
        kind = UUID(bytes_le=guid)
        if kind == _PARENT_LOCATOR:
            raise ImageRejected("the vhdx is a difference to a parent disk", f"flatten it: {_RECREATE}")
        if kind in items or (kind not in _KNOWN_ITEMS and flags & 0x4):
            raise ImageRejected(f"the vhdx has an unknown or repeated metadata item {kind}", _RECREATE)
        items[kind] = _Extent(offset, length)
    parameters = _item(window, region, items.get(_FILE_PARAMETERS), 8)
    if parameters >> 32 & _HAS_PARENT:
        raise ImageRejected("the vhdx is a difference to a parent disk", f"flatten it: {_RECREATE}")
    return (
        parameters & 0xFFFFFFFF,
        _item(window, region, items.get(_DISK_SIZE), 8),
        _item(window, region, items.get(_LOGICAL_SECTOR), 4),
    )


def _item(window: Window, region: _Extent, item: _Extent | None, length: int) -> int:
    if item is None or item.length < length or item.offset < _TABLE_BYTES or item.offset + length > region.length:
        raise ImageRejected("the vhdx metadata lacks a required item", _RECREATE)
    return int.from_bytes(window.read(region.offset + item.offset, length, what="vhdx metadata item"), "little")


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC: Final = _crc_table()


def _crc32c(data: bytes) -> int:
    """CRC-32C of a structure whose own checksum, bytes 4 to 7, counts as zero."""
    crc = 0xFFFFFFFF
    for byte in data[:4] + bytes(4) + data[8:]:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
