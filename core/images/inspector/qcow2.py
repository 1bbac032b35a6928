"""QCOW2, versions 2 and 3 (qemu/docs/interop/qcow2.txt).

The dangerous fields name other files: the backing file and the external data file. Both are refused, and so is
every incompatible feature bit this parser does not know, because such a bit changes what the other fields mean.
"""

from __future__ import annotations

import struct
from typing import Final

from core.images.inspector.model import ImageRejected, Inspected, Window, check_virtual_size
from hostd.spec import DiskFormat

MAGIC: Final = b"QFI\xfb"
_V2: Final = struct.Struct(">4sIQIIQIIQQIIQ")
_V3: Final = struct.Struct(">QQQII")
_V3_LENGTH: Final = 104

_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_KNOWN_INCOMPATIBLE: Final = _DIRTY | _CORRUPT | _DATA_FILE | _COMPRESSION | _EXTENDED_L2
_AUTOCLEAR_RAW_DATA: Final = 1 << 1

_EXT_END: Final = 0
_EXT_BACKING_FORMAT: Final = 0xE2792ACA
_EXT_DATA_FILE: Final = 0x44415441
_EXT_LUKS: Final = 0x0537BE77
_MAX_EXTENSIONS: Final = 64

_MAX_L1_BYTES: Final = 32 * 1024 * 1024
_MAX_REFTABLE_BYTES: Final = 8 * 1024 * 1024
_MAX_SNAPSHOTS: Final = 65536

_RECREATE: Final = "write a plain copy: qemu-img convert -O qcow2 SOURCE COPY"


def signature(window: Window) -> bool:
    return window.peek(0, 4) == MAGIC


def parse(window: Window) -> Inspected:
    """Raises ImageRejected."""
    (
        _magic,
        version,
        backing_offset,
        backing_length,
        cluster_bits,
        virtual_size,
        crypt_method,
        l1_size,
        l1_offset,
        reftable_offset,
        reftable_clusters,
        snapshot_count,
        snapshots_offset,
    ) = _V2.unpack(window.read(0, _V2.size, what="qcow2 header"))
    if version not in (2, 3):
        raise ImageRejected(f"qcow2 version {version} is not supported", _RECREATE)
    if backing_offset or backing_length:
        raise ImageRejected("the qcow2 image names a backing file", f"flatten it: {_RECREATE}")
    if crypt_method:
        raise ImageRejected("the qcow2 image is encrypted", "decrypt it first with qemu-img convert")
    if not 9 <= cluster_bits <= 21:
        raise ImageRejected(f"qcow2 cluster size 2^{cluster_bits} is outside 2^9 to 2^21", _RECREATE)
    cluster = 1 << cluster_bits
    incompatible = 0
    header_length = _V2.size
    compression = "zlib"
    if version == 3:
        incompatible, header_length, compression = _parse_v3(window, cluster)
    _check_extensions(window, start=header_length, end=min(cluster, window.size))
    check_virtual_size(virtual_size)
    _check_tables(
        window,
        cluster=cluster,
        l1=(l1_offset, l1_size),
        l1_needed=_l1_entries(virtual_size, cluster=cluster, extended=bool(incompatible & _EXTENDED_L2)),
        reftable=(reftable_offset, reftable_clusters),
    )
    if snapshot_count > _MAX_SNAPSHOTS or (snapshot_count and not window.holds(snapshots_offset, snapshot_count * 40)):
        raise ImageRejected("the qcow2 snapshot table lies outside the file", _RECREATE)
    return Inspected(
        format=DiskFormat.QCOW2,
        virtual_size=virtual_size,
        size=window.size,
        details={
            "version": version,
            "cluster_size": cluster,
            "compression": compression,
            "snapshots": snapshot_count,
        },
    )


def _parse_v3(window: Window, cluster: int) -> tuple[int, int, str]:
    """The feature fields: incompatible bits, header length, compression name."""
    incompatible, _compatible, autoclear, refcount_order, header_length = _V3.unpack(
        window.read(_V2.size, _V3.size, what="qcow2 version 3 header")
    )
    if incompatible & _DATA_FILE or autoclear & _AUTOCLEAR_RAW_DATA:
        raise ImageRejected("the qcow2 image keeps its data in another file", _RECREATE)
    if incompatible & _CORRUPT:
        raise ImageRejected("the qcow2 image is marked corrupt", "repair it first: qemu-img check -r all IMAGE")
    if unknown := incompatible & ~_KNOWN_INCOMPATIBLE:
        raise ImageRejected(f"the qcow2 image uses unknown incompatible features ({unknown:#x})", _RECREATE)
    if refcount_order > 6:
        raise ImageRejected(f"qcow2 refcount order {refcount_order} is beyond 6", _RECREATE)
    if header_length < _V3_LENGTH or header_length % 8 or header_length > cluster:
        raise ImageRejected(f"qcow2 header length {header_length} is not sane", _RECREATE)
    if incompatible & _EXTENDED_L2 and cluster < 1 << 14:
        raise ImageRejected("qcow2 extended L2 entries need clusters of 16 KiB or more", _RECREATE)
    kind = window.read(_V3_LENGTH, 1, what="qcow2 compression type")[0] if header_length > _V3_LENGTH else 0
    if kind > 1 or bool(incompatible & _COMPRESSION) != bool(kind):
        raise ImageRejected(f"qcow2 compression type {kind} does not match its feature bit", _RECREATE)
    return incompatible, header_length, "zstd" if kind else "zlib"


def _check_extensions(window: Window, *, start: int, end: int) -> None:
    """Header extensions up to their end mark, all within the first cluster."""
    position = start
    for _ in range(_MAX_EXTENSIONS):
        if position + 8 > end:
            return
        kind, length = struct.unpack(">II", window.read(position, 8, what="qcow2 header extension"))
        if kind == _EXT_END:
            return
        if kind == _EXT_DATA_FILE:
            raise ImageRejected("the qcow2 image names an external data file", _RECREATE)
        if kind == _EXT_BACKING_FORMAT:
            raise ImageRejected("the qcow2 image names a backing format", f"flatten it: {_RECREATE}")
        if kind == _EXT_LUKS:
            raise ImageRejected("the qcow2 image is encrypted (LUKS)", "decrypt it first with qemu-img convert")
        if length > end - position - 8:
            raise ImageRejected("a qcow2 header extension leaves the first cluster", _RECREATE)
        position += 8 + (length + 7) // 8 * 8
    raise ImageRejected(f"the qcow2 header has more than {_MAX_EXTENSIONS} extensions", _RECREATE)


def _l1_entries(virtual_size: int, *, cluster: int, extended: bool) -> int:
    """Entries the L1 table needs so that every guest byte has a place."""
    per_l2 = cluster // (16 if extended else 8)
    return -(-virtual_size // (cluster * per_l2))


def _check_tables(
    window: Window, *, cluster: int, l1: tuple[int, int], l1_needed: int, reftable: tuple[int, int]
) -> None:
    # A writer may leave the last cluster of the file short: qemu reads the rest as zeroes.
    slack = -window.size % cluster
    offset, entries = l1
    if entries * 8 > _MAX_L1_BYTES or entries < l1_needed:
        raise ImageRejected(f"the qcow2 L1 table has {entries} entries where {l1_needed} are needed", _RECREATE)
    if offset % cluster or offset < cluster or not window.holds(offset, entries * 8, slack=slack):
        raise ImageRejected(f"the qcow2 L1 table at byte {offset} is misplaced", _RECREATE)
    offset, clusters = reftable
    if not 0 < clusters * cluster <= _MAX_REFTABLE_BYTES:
        raise ImageRejected(f"the qcow2 refcount table of {clusters} clusters is not sane", _RECREATE)
    if offset % cluster or offset < cluster or not window.holds(offset, clusters * cluster, slack=slack):
        raise ImageRejected(f"the qcow2 refcount table at byte {offset} is misplaced", _RECREATE)
