"""Images in an object store, each under its digest, with a bounded directory of those that were used last before it.

A host is always sent a local file: what is not at hand is fetched first, and compared with its digest, since what an
object store hands out is not what the cloud trusts.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any, BinaryIO, cast

from core.errors import Conflict, NotFound, Unavailable
from core.images.stores.files import CHUNK, ImageStore, Progress, Stored
from core.objects import Full, ObjectStore


class ObjectImages:
    """One object store's images. Safe for several processes at once: all put the same bytes under the same name."""

    def __init__(self, objects: ObjectStore, cache: ImageStore, *, cache_bytes: int) -> None:
        self._objects = objects
        self._cache = cache
        self._cache_bytes = cache_bytes

    def put(self, stored: Stored, *, progress: Progress | None = None) -> None:
        """Keep an image whose file is complete; it stays at hand. Raises Unavailable."""
        name = object_name(stored.digest)
        if self._size(name) != stored.size:
            try:
                with stored.path.open("rb") as file:
                    self._objects.put(name, cast(BinaryIO, _Told(file, stored.size, progress)), size=stored.size)
            except Full as full:
                raise Unavailable(full.title, hint=full.hint) from full
        self._make_room(stored.size)
        self._cache.link(stored)

    def path(self, digest: str) -> Path:
        """A file of the image, fetched when it is not at hand. Blocks. Raises NotFound, Unavailable."""
        with contextlib.suppress(NotFound):
            path = self._cache.path(digest)
            os.utime(path)
            return path
        name = object_name(digest)
        size = self._size(name)
        if size is None:
            raise NotFound(f"the object store has no image {digest[:12]}", hint="add the image again")
        self._make_room(size)
        try:
            partial = self._cache.partial(f"get-{digest}", total=size)
        except Conflict as running:
            raise Unavailable(f"image {digest[:12]} is being fetched", hint="It is there in a moment.") from running
        with partial:
            # What an earlier attempt left is not gone on with: object stores are near.
            partial.restart()
            with self._objects.get(name) as file:
                while piece := file.read(CHUNK):
                    partial.write(piece)
            return partial.commit(expected=digest).path

    def holds(self, digest: str) -> bool:
        """Whether the store itself has it. Raises Unavailable."""
        return self._objects.exists(object_name(digest))

    def delete(self, digest: str) -> bool:
        """Forget the image; whether there was one. Raises Unavailable."""
        self._cache.delete(digest)
        there = self.holds(digest)
        self._objects.delete(object_name(digest))
        return there

    def _size(self, name: str) -> int | None:
        try:
            return self._objects.size(name)
        except NotFound:
            return None

    def _make_room(self, size: int) -> None:
        """The least recently used of what is at hand goes, until `size` bytes more are within the bound."""
        held = []
        for digest in self._cache.digests():
            with contextlib.suppress(NotFound, FileNotFoundError):
                stat = self._cache.path(digest).stat()
                held.append((max(stat.st_atime, stat.st_mtime), stat.st_size, digest))
        total = sum(size for _, size, _ in held)
        for _, freed, digest in sorted(held):
            if total + size <= self._cache_bytes:
                return
            # Whoever is sending the file goes on: it is open.
            self._cache.delete(digest)
            total -= freed


class _Told(io.RawIOBase):
    """A file that tells how far it was read."""

    def __init__(self, file: BinaryIO, total: int, progress: Progress | None) -> None:
        self._file = file
        self._total = total
        self._progress = progress

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        if self._progress is not None:
            self._progress(self._file.tell(), self._total)
        return len(data)


def object_name(digest: str) -> str:
    """The key an image is kept under."""
    return f"images/{digest[:2]}/{digest}"
