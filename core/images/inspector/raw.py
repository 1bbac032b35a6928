"""Raw disks: any bytes at all, as long as they are not another format's.

A raw disk has no header to check, so the check is the reverse: whoever declares qcow2 bytes raw hopes that somebody
probes them later.
"""

from __future__ import annotations

from core.images.inspector.model import ImageRejected, Inspected, Window, check_virtual_size
from hostd.spec import DiskFormat


def parse(window: Window) -> Inspected:
    """Raises ImageRejected."""
    if window.size == 0:
        raise ImageRejected("the file is empty", "fetch it again")
    check_virtual_size(window.size)
    return Inspected(
        format=DiskFormat.RAW,
        virtual_size=window.size,
        size=window.size,
        details={"partition_table": partition_table(window) or "none"},
    )


def partition_table(window: Window) -> str | None:
    """`gpt`, `mbr` or None: a disk that a firmware would boot from."""
    sector = window.peek(0, 512)
    if sector[510:] != b"\x55\xaa":
        return None
    if window.peek(512, 8) == b"EFI PART":
        return "gpt"
    entries = [sector[446 + 16 * index : 462 + 16 * index] for index in range(4)]
    used = any(entry[4] and any(entry[12:16]) for entry in entries)
    return "mbr" if used and all(entry[0] in (0, 0x80) for entry in entries) else None
