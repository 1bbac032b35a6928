"""What a disk is to the streams: something that tells its extents in order, or takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import attrs

from hostd.spec import Read, Write
from hostd.storage.volumes.backend import Extent


@attrs.frozen
class Chunk:
    """Bytes of a disk from `offset` on; without `data` they are all zeros."""

    offset: int
    length: int
    data: bytes | bytearray | None = None


class Reader(Protocol):
    """A disk that nobody writes."""

    @property
    def size(self) -> int: ...

    @property
    def since(self) -> bool:
        """Only what changed since `Read.since` is told."""

    def chunks(self, size: int, begin: int = 0) -> Iterator[Chunk]:
        """In order: data in whole chunks of `size` (the last of the disk may be shorter), zeros in runs of them. From
        the chunk on that `begin` is in."""


class Writer(Protocol):
    """A disk that this writer alone has open."""

    @property
    def size(self) -> int: ...

    def write(self, offset: int, data: memoryview) -> None: ...

    def zero(self, offset: int, length: int) -> None: ...

    def flush(self) -> None:
        """What was written is on the disk when this returns."""


class Disks(Protocol):
    """Opens what a call names. Blocking; thread-safe. All raise HostError: NOT_FOUND, BAD_STATE when somebody else has
    it open, STORAGE, DISK_FULL."""

    def reading(self, asked: Read) -> AbstractContextManager[Reader]: ...

    def writing(self, asked: Write) -> AbstractContextManager[Writer]: ...


def rounded(extents: Iterable[Extent], *, chunk: int, size: int, begin: int = 0) -> Iterator[tuple[int, int]]:
    """The whole chunks of a disk of `size` bytes, from `begin` on, that these ranges touch: [first, last) in bytes, in
    order, apart from each other."""
    least = begin // chunk * chunk
    for first, last in _joined(extents, chunk=chunk, size=size):
        if last > least:
            yield max(first, least), last


def _joined(extents: Iterable[Extent], *, chunk: int, size: int) -> Iterator[tuple[int, int]]:
    first = last = 0
    for extent in sorted(extents, key=lambda extent: extent.offset):
        begin = extent.offset // chunk * chunk
        end = min(size, -(-(extent.offset + extent.length) // chunk) * chunk)
        if begin > last:
            if last > first:
                yield first, last
            first, last = begin, end
        else:
            last = max(last, end)
    if last > first:
        yield first, last
