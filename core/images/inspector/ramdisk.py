"""Ramdisks for direct boot (ARI): a cpio archive, plain or compressed as Linux can unpack it."""

from __future__ import annotations

from typing import Final

from core.images.inspector.model import ImageRejected, Inspected, Window
from hostd.spec import DiskFormat

_KINDS: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"070701", "cpio"),
    (b"070702", "cpio"),
)


def signature(window: Window) -> bool:
    return _kind(window) is not None


def parse(window: Window) -> Inspected:
    """Raises ImageRejected."""
    kind = _kind(window)
    if kind is None:
        raise ImageRejected("the file is no ramdisk", "use a cpio archive, plain or compressed")
    return Inspected(format=DiskFormat.ARI, virtual_size=window.size, size=window.size, details={"kind": kind})


def _kind(window: Window) -> str | None:
    return next((name for magic, name in _KINDS if window.peek(0, len(magic)) == magic), None)
