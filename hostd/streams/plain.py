"""Raw files opened in place, without QEMU: the disks of hosts in memory."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from hostd.drivers import DiskSource
from hostd.spec import ErrorCode, HostError
from hostd.storage.volumes.backend import Extent
from hostd.streams.disks import Chunk, rounded

_PIECE: Final = 1 << 20


class PlainDisk:
    """An open raw file. Both a Reader and a Writer."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._ranges: list[Extent] | None = None
        self.size: int = os.fstat(descriptor).st_size

    @property
    def since(self) -> bool:
        return self._ranges is not None

    def only(self, ranges: Iterable[Extent] | None) -> None:
        """Tell of these alone, when they are known."""
        self._ranges = None if ranges is None else list(ranges)

    def chunks(self, size: int, begin: int = 0) -> Iterator[Chunk]:
        whole = [Extent(offset=0, length=self.size, zero=False)]
        told = whole if self._ranges is None else self._ranges
        for first, last in rounded(told, chunk=size, size=self.size, begin=begin):
            at = first
            while at < last:
                if hole := self._hole(at, last) // size * size:
                    yield Chunk(at, hole)
                    at += hole
                    continue
                length = min(size, last - at)
                data = os.pread(self._descriptor, length, at)
                yield Chunk(at, length, None if data == bytes(length) else data)
                at += length

    def _hole(self, at: int, end: int) -> int:
        """Bytes of the hole that begins at `at`, up to `end`."""
        return min(end, self._next_data(at)) - at

    def _next_data(self, at: int) -> int:
        """Where the next bytes are that are no hole; the disk's end when there are none."""
        try:
            return os.lseek(self._descriptor, at, os.SEEK_DATA)
        except OSError as bad:
            if bad.errno != errno.ENXIO:
                raise
            return self.size

    def write(self, offset: int, data: memoryview) -> None:
        try:
            os.pwrite(self._descriptor, data, offset)
        except OSError as bad:
            raise HostError(ErrorCode.DISK_FULL, f"the volume cannot be written: {bad.strerror}") from bad

    def zero(self, offset: int, length: int) -> None:
        at, end = self._next_data(offset), offset + length
        while at < end:
            piece = min(_PIECE, end - at)
            self.write(at, memoryview(bytes(piece)))
            at = self._next_data(at + piece)

    def flush(self) -> None:
        os.fsync(self._descriptor)


@contextlib.contextmanager
def opened(source: DiskSource, *, read_only: bool, run: Path) -> Iterator[PlainDisk]:
    """The file, which must be raw. Raises HostError(NOT_FOUND)."""
    if (source.type, source.format) != ("file", "raw"):
        raise HostError(ErrorCode.INTERNAL, f"{source.name} is no raw file")
    try:
        descriptor = os.open(source.name, os.O_RDONLY if read_only else os.O_RDWR)
    except FileNotFoundError as absent:
        raise HostError(ErrorCode.NOT_FOUND, f"{source.name} is not there") from absent
    try:
        yield PlainDisk(descriptor)
    finally:
        os.close(descriptor)
