"""The contents of disks, in and out: the bulk calls `read` and `write`.

`serving` carries them over a connection, `disks` says what a disk is to it, `nbd` opens real ones, and `contents` finds
which disk a call means.
"""

from hostd.streams.disks import Chunk, Disks, Reader, Writer
from hostd.streams.serving import Streams

__all__ = ("Chunk", "Disks", "Reader", "Streams", "Writer")
