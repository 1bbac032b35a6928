"""What a backup consists of: one complete list of chunks, whole or incremental alike."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, Final

import zstandard

FORMAT: Final = 1

_LARGEST: Final = 1 << 30
"""Bytes of an unpacked manifest that is read: some 16 million chunks. More is damage, or malice."""

_DIGEST: Final = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """A disk in chunks of `chunk` bytes each."""

    backup: str
    volume: str
    size: int
    """Bytes of the disk; the last chunk may be shorter than the others."""
    chunk: int
    at: int
    """Microseconds since the epoch: the moment whose contents it holds."""
    parent: str | None
    """The backup it was made from. For people: nothing of it is needed."""
    chunks: dict[int, bytes]
    """Number to sha256 of the contents; chunks that hold nothing but zeros are left out."""

    def length(self, number: int) -> int:
        """Bytes of a chunk."""
        return min(self.chunk, self.size - number * self.chunk)

    def zeros(self) -> Iterator[tuple[int, int]]:
        """The ranges [first, last) in bytes that no chunk covers."""
        at = 0
        for number in sorted(self.chunks):
            if number * self.chunk > at:
                yield at, number * self.chunk
            at = number * self.chunk + self.length(number)
        if at < self.size:
            yield at, self.size

    def packed(self) -> bytes:
        """As it is stored: JSON, digests of neighbours joined in runs."""
        runs: list[tuple[int, list[bytes]]] = []
        for number in sorted(self.chunks):
            if not runs or number != runs[-1][0] + len(runs[-1][1]):
                runs.append((number, []))
            runs[-1][1].append(self.chunks[number])
        plain = {
            "format": FORMAT,
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "chunks"},
            "runs": [[first, b"".join(digests).hex()] for first, digests in runs],
        }
        return zstandard.ZstdCompressor(level=3).compress(json.dumps(plain, sort_keys=True).encode())

    @classmethod
    def unpacked(cls, packed: bytes) -> Manifest:
        """Raises ValueError for what is no manifest, or one of a later format."""
        try:
            text = zstandard.ZstdDecompressor().decompress(packed, max_output_size=_LARGEST)
        except zstandard.ZstdError as bad:
            raise ValueError(str(bad)) from bad
        plain: dict[str, Any] = json.loads(text)
        if (format := plain.pop("format", None)) != FORMAT:
            raise ValueError(f"it has format {format}, this skydeck knows {FORMAT}")
        chunks: dict[int, bytes] = {}
        for first, joined in plain.pop("runs"):
            digests = bytes.fromhex(joined)
            for index in range(0, len(digests), _DIGEST):
                chunks[first + index // _DIGEST] = digests[index : index + _DIGEST]
        return cls(chunks=chunks, **plain)
