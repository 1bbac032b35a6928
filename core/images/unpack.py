"""Images that come compressed: unpacked while they are read, into no more bytes than allowed.

The whole file is compressed, as `gzip`, `xz` or `zstd` leave it; archives of several files are none of ours.
"""

from __future__ import annotations

import lzma
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import zstandard

from core.errors import Invalid, Unavailable

CHUNK: Final = 1 << 20

MEMORY: Final = 256 << 20
"""Bytes a decompressor may use: xz and zstd headers ask for what they like."""

RESERVE: Final = 512 << 20
"""Bytes of the file system, at most a 20th of it, that unpacking leaves free for everybody else."""

_MAGIC: Final = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class _Decompressor(Protocol):
    """One compressed stream, a piece at a time."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def feed(self, data: bytes) -> bytes:
        """At most CHUNK bytes that came of it and of what was kept back; no data: only of what was kept back."""


def kind_of(path: Path) -> str | None:
    """gzip, xz or zstd, by how the file begins; None for what is not compressed."""
    with path.open("rb") as file:
        head = file.read(6)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def unpacked(file: BinaryIO, kind: str) -> Iterator[bytes]:
    """What was compressed, in pieces of at most CHUNK bytes. Raises Invalid for what is damaged."""
    try:
        yield from _streams(file, kind)
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError) as bad:
        raise Invalid(
            f"the {kind} file cannot be unpacked: {bad}", hint="Fetch it again and compare its checksum."
        ) from bad


def check_room(directory: Path) -> None:
    """Raises Unavailable when unpacking further would leave the file system no reserve."""
    usage = shutil.disk_usage(directory)
    if usage.free < min(RESERVE, usage.total // 20):
        raise Unavailable(
            f"unpacking was stopped: {directory} has only {usage.free >> 20} MiB left",
            hint="Free some space, or unpack the image where there is more and add it unpacked.",
        )


def _streams(file: BinaryIO, kind: str) -> Iterator[bytes]:
    if kind == "zstd":
        # The window is what a header may ask memory for.
        reader = zstandard.ZstdDecompressor(max_window_size=MEMORY).stream_reader(file, read_across_frames=True)
        while piece := reader.read(CHUNK):
            yield piece
        return
    make = _Gzip if kind == "gzip" else _Xz
    rest = file.read(CHUNK)
    while rest:
        stream: _Decompressor = make()
        while not stream.eof:
            piece = stream.feed(rest)
            rest = b""
            if piece:
                yield piece
            elif not stream.eof:
                rest = file.read(CHUNK)
                if not rest:
                    raise Invalid(f"the {kind} file ends too early", hint="Fetch it again.")
        # Several streams one after the other are one file; zeros may pad it.
        rest = (stream.unused_data or file.read(CHUNK)).lstrip(b"\0")


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def feed(self, data: bytes) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, CHUNK)


class _Xz:
    def __init__(self) -> None:
        self._inner = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MEMORY)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def feed(self, data: bytes) -> bytes:
        return self._inner.decompress(data, CHUNK)
