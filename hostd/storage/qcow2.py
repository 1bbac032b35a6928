"""Writes an empty qcow2 file: what `qemu-img create` would, without two processes and their libraries for 256 KiB.

The format is docs/interop/qcow2.txt of QEMU. Only what we ask for is here: version 3, 64 KiB clusters, no data.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

CLUSTER_BITS: Final = 16
CLUSTER: Final = 1 << CLUSTER_BITS
SECTOR: Final = 512
ENTRY: Final = 8
"""Bytes of an entry of the L1, L2 and refcount tables."""

MOST_BACKING: Final = 1023
"""Bytes of a backing file's name."""

MAGIC: Final = b"QFI\xfb"
_HEADER: Final = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_EXTENSION: Final = struct.Struct(">II")
_BACKING_FORMAT: Final = 0xE2792ACA
_REFCOUNT_ORDER: Final = 4
"""Two to this are the bits of a reference count."""


def create(path: Path, *, size: int, backing: tuple[str, str] | None = None) -> None:
    """Write an empty disk at `path`: `size` bytes, rounded up to whole sectors, over `backing` where given.

    `backing` is a file and QEMU's name of its format. Raises OSError; ValueError for a file whose name is too long.
    """
    size = -(-size // SECTOR) * SECTOR
    l1_entries = -(-size // (CLUSTER * (CLUSTER // ENTRY)))
    l1_clusters = -(-l1_entries * ENTRY // CLUSTER)
    # The clusters in their order: header, refcount table, one refcount block, L1 table.
    clusters = 3 + l1_clusters
    header = _header(size=size, l1_entries=l1_entries, backing=backing)
    with path.open("wb") as file:
        file.write(header)
        file.seek(CLUSTER)
        file.write(struct.pack(">Q", 2 * CLUSTER))
        file.seek(2 * CLUSTER)
        file.write(struct.pack(">H", 1) * clusters)
        file.truncate(clusters * CLUSTER)


def _header(*, size: int, l1_entries: int, backing: tuple[str, str] | None) -> bytes:
    extensions = b""
    name = b""
    if backing is not None:
        name, kind = (part.encode() for part in backing)
        if len(name) > MOST_BACKING:
            raise ValueError(f"the backing file's name has {len(name)} bytes, beyond {MOST_BACKING}")
        extensions += _EXTENSION.pack(_BACKING_FORMAT, len(kind)) + kind + bytes(-len(kind) % 8)
    extensions += _EXTENSION.pack(0, 0)
    fixed = _HEADER.pack(
        MAGIC,
        3,  # version
        _HEADER.size + len(extensions) if name else 0,
        len(name),
        CLUSTER_BITS,
        size,
        0,  # not encrypted
        l1_entries,
        3 * CLUSTER,
        CLUSTER,
        1,  # cluster of the refcount table
        0,  # snapshots
        0,
        0,  # incompatible, compatible and autoclear features
        0,
        0,
        _REFCOUNT_ORDER,
        _HEADER.size,
    )
    return fixed + extensions + name
