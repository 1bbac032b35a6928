"""Raw files opened in place, without QEMU: the disks of hosts in memory."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from hostd.drivers import DiskSource
from hostd.spec import ErrorCode, HostError
from hostd.storage.volumes.backend import Extent
from hostd.streams.disks import Chunk, rounded


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

    def chunks(self, size: int) -> Iterator[Chunk]:
        whole = [Extent(offset=0, length=self.size, zero=False)]
        for first, last in rounded(whole if self._ranges is None else self._ranges, chunk=size, size=self.size):
            at = first
            while at < last:
                if hole := self._hole(at, last) // size * size:
                    yield Chunk(at, hole)
                    at += hole
                    continue
                length = min(size, last - at)
                data = os.pread(self._descriptor, length, at)
                yield Chunk(at, length, data if any(data) else None)
                at += length

    def _hole(self, at: int, end: int) -> int:
        """Bytes of the hole that begins at `at`, up to `end`."""
        try:
            return min(end, os.lseek(self._descriptor, at, os.SEEK_DATA)) - at
        except OSError as bad:
            if bad.errno != errno.ENXIO:
                raise
            return end - at  # nothing but a hole follows

    def write(self, offset: int, data: memoryview) -> None:
        try:
            os.pwrite(self._descriptor, data, offset)
        except OSError as bad:
            raise HostError(ErrorCode.DISK_FULL, f"the volume cannot be written: {bad.strerror}") from bad

    def zero(self, offset: int, length: int) -> None:
        for at in range(offset, offset + length, 1 << 20):
            self.write(at, memoryview(bytes(min(1 << 20, offset + length - at))))

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
