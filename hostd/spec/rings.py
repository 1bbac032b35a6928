"""Ring files: one object's numbers over time, in a file whose size never changes.

Hosts keep their samples in them and the controller its series; this is the one part of hostd that both have.

A header, then `slots` records of the same size. The moment decides the slot (moment / step, modulo slots), so a writer
needs to know nothing but the time, a gap is simply slots that were not written, and what wrapped around is older than
the ring is long. Each record holds its own moment and a checksum: one that was cut short, by a crash or because it is
being written at this moment, reads as absent.

    header   magic 8, kind u16, record size u16, step in seconds u32, slots u32
    record   checksum u32, moment u64 in microseconds, payload
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final

import attrs

_MAGIC: Final = b"skyring1"
_HEADER: Final = struct.Struct("<8sHHII")
_CHECK: Final = struct.Struct("<I")
_SECOND: Final = 1_000_000

Entry = tuple[Any, ...]
"""(moment in microseconds, value, …)"""


@attrs.frozen
class Shape:
    """What the records of one kind of ring are."""

    kind: int
    """Told apart by this number in the file."""
    payload: str
    """A struct format, without byte order."""
    step: int
    """Seconds between two slots."""
    _record: struct.Struct = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: struct.Struct(f"<IQ{self.payload}"), takes_self=True)
    )

    @property
    def size(self) -> int:
        """Bytes of a record."""
        return self._record.size

    def bytes_of(self, slots: int) -> int:
        """Of a whole file."""
        return _HEADER.size + slots * self.size

    def pack(self, at_us: int, values: Sequence[Any]) -> bytes:
        """One record. Raises struct.error for a value that its field cannot hold."""
        record = self._record.pack(0, at_us, *values)
        return _CHECK.pack(_checksum(record)) + record[_CHECK.size :]

    def unpack(self, data: bytes) -> list[Entry]:
        """The records that are whole; of slots never written, none."""
        size, found = self.size, []
        for number, values in enumerate(self._record.iter_unpack(data)):
            if values[1] and values[0] == _checksum(data[number * size : (number + 1) * size]):
                found.append(values[1:])
        return found


def _checksum(record: bytes) -> int:
    return zlib.crc32(record[_CHECK.size :])


class Rings:
    """Writes rings of one shape. Opens a file for each write: there may be more of them than a process can hold open.
    Not thread-safe. Paths are plain strings: there are thousands a second, and making Path objects of them would cost
    more than all the rest."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._slots: dict[str, int] = {}

    def write(self, path: str, at_us: int, values: Sequence[Any], *, slots: int) -> bool:
        """Put a record in its slot. A file that is not there, or is none of this shape, is made anew with so many
        slots; answers whether it was. Raises OSError."""
        record = self._shape.pack(at_us, values)
        file, known, made = self._open(path, slots)
        try:
            slot = at_us // (self._shape.step * _SECOND) % known
            os.pwrite(file, record, _HEADER.size + slot * self._shape.size)
        finally:
            os.close(file)
        return made

    def _open(self, path: str, slots: int) -> tuple[int, int, bool]:
        """(the file, how many slots it has, whether it is new)."""
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            pass
        else:
            if (known := self._slots.get(path)) is not None:
                return file, known, False
            header = _header(file)
            if header is not None and header.shape_of(self._shape):
                self._slots[path] = header.slots
                return file, header.slots, False
            os.close(file)
        file = self._make(path, slots)
        self._slots[path] = slots
        return file, slots, True

    def forget(self, path: str) -> None:
        """The object is gone: delete its ring. Raises OSError; not for one that is gone already."""
        self._slots.pop(path, None)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def _make(self, path: str, slots: int) -> int:
        directory, name = os.path.split(path)
        os.makedirs(directory, exist_ok=True)
        # Under another name until it is whole: a reader never meets half a header.
        fresh = os.path.join(directory, f".{name}.{os.getpid()}")
        file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            shape = self._shape
            os.pwrite(file, _HEADER.pack(_MAGIC, shape.kind, shape.size, shape.step, slots), 0)
            os.ftruncate(file, shape.bytes_of(slots))
            os.rename(fresh, path)
        except BaseException:
            os.close(file)
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            raise
        return file


@attrs.frozen
class _Header:
    kind: int
    size: int
    step: int
    slots: int

    def shape_of(self, *shapes: Shape) -> Shape | None:
        for shape in shapes:
            if (self.kind, self.size, self.step) == (shape.kind, shape.size, shape.step) and self.slots:
                return shape
        return None


def _header(file: int) -> _Header | None:
    data = os.pread(file, _HEADER.size, 0)
    if len(data) < _HEADER.size:
        return None
    magic, kind, size, step, slots = _HEADER.unpack(data)
    return _Header(kind, size, step, slots) if magic == _MAGIC else None


def read(path: str, *shapes: Shape, since: int, until: int) -> tuple[Shape | None, list[Entry]]:
    """(which of the shapes it has, its records after `since` and up to `until`, oldest first), both in microseconds.

    (None, []) when there is no such ring. Raises OSError for one that cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, []
    try:
        header = _header(file)
        shape = header.shape_of(*shapes) if header is not None else None
        if header is None or shape is None:
            return None, []
        data = b"".join(os.pread(file, count * shape.size, start) for start, count in _places(header, since, until))
    finally:
        os.close(file)
    # A file cut short has no last records.
    whole = data[: len(data) - len(data) % shape.size]
    oldest = max(since, until - header.slots * header.step * _SECOND)
    found = [entry for entry in shape.unpack(whole) if oldest < entry[0] <= until]
    found.sort(key=lambda entry: entry[0])
    return shape, found


def _places(header: _Header, since: int, until: int) -> list[tuple[int, int]]:
    """(offset, records) of the one or two runs of slots that hold the time between."""
    step = header.step * _SECOND
    last = until // step
    count = min(header.slots, last - max(0, since) // step + 1)
    if count <= 0:
        return []
    first = (last - count + 1) % header.slots
    before_end = min(count, header.slots - first)
    runs = [(first, before_end), (0, count - before_end)]
    return [(_HEADER.size + slot * header.size, records) for slot, records in runs if records]
