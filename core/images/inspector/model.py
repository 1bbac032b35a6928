"""What every format's parser shares: the bounded view of a file, the result, the refusal."""

from __future__ import annotations

import os
from typing import BinaryIO, Final

import attrs

from core.errors import Invalid
from hostd.spec import DiskFormat

READ_BUDGET: Final = 4 * 1024 * 1024
"""Bytes one inspection may read in total, whatever the headers claim."""

MAX_VIRTUAL_SIZE: Final = 64 * 1024**4
"""Bytes. The largest disk any of the formats may declare (VHDX's own limit); quotas come after."""

SECTOR: Final = 512


class ImageRejected(Invalid):
    """The file is not safely what it was declared to be. `title` names the cause, `hint` the next act."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason, hint=hint)


@attrs.frozen(kw_only=True)
class Inspected:
    """A file that may be handed to qemu-img, with exactly this format."""

    format: DiskFormat
    virtual_size: int
    """Bytes a guest would see; the file's size for kernels and ramdisks."""
    size: int
    """Bytes of the file."""
    details: dict[str, str | int] = attrs.field(factory=dict)
    """Format-specific facts worth showing, e.g. cluster size or subformat."""


class Window:
    """Reads at offsets of a file whose every length is a stranger's claim.

    No read crosses the end of the file and all reads together stay within READ_BUDGET.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        self._budget = READ_BUDGET

    def read(self, offset: int, length: int, *, what: str) -> bytes:
        """Exactly `length` bytes. Raises ImageRejected naming `what` when the file has no such bytes."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ImageRejected(
                f"the {what} at byte {offset} ({length} bytes) lies beyond the end of the file ({self.size} bytes)",
                "the file is damaged or was cut short: fetch it again and compare its checksum",
            )
        if length > self._budget:
            raise ImageRejected(
                f"the {what} claims {length} bytes: more than any sane image's headers hold",
                "re-create the image with `qemu-img convert`",
            )
        self._budget -= length
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise ImageRejected(f"the {what} could not be read whole", "the file changed while it was read: try again")
        return data

    def peek(self, offset: int, length: int) -> bytes:
        """`length` bytes, or none when the file is shorter: for looking at a signature."""
        if offset < 0 or offset + length > self.size:
            return b""
        return self.read(offset, length, what="signature")

    def holds(self, offset: int, length: int, *, slack: int = 0) -> bool:
        """Whether the file has these bytes; `slack` forgives a last table the writer did not pad."""
        return offset >= 0 and length >= 0 and offset + length <= self.size + slack


def check_virtual_size(virtual_size: int) -> None:
    """Raises ImageRejected for a disk of no bytes or of more than MAX_VIRTUAL_SIZE."""
    if virtual_size <= 0:
        raise ImageRejected("the image declares a disk of no bytes", "re-create the image with a size")
    if virtual_size > MAX_VIRTUAL_SIZE:
        raise ImageRejected(
            f"the image declares a disk of {virtual_size} bytes, beyond {MAX_VIRTUAL_SIZE}",
            "re-create the image with the size the guest needs",
        )


def is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0
