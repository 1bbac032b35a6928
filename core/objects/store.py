"""What an object store is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Final, Protocol

from core.errors import Failed, Invalid

LEAF: Final = r"[A-Za-z0-9_][A-Za-z0-9._=-]*"
"""What stands between the slashes of a name: never `.`, `..` or hidden."""

_NAME: Final = re.compile(rf"{LEAF}(/{LEAF})*")
_LONGEST: Final = 512


class Full(Failed):
    """There is no room for an object; nothing of it is kept."""


class ObjectStore(Protocol):
    """Objects by name. Blocking; thread-safe; used by several processes at once.

    An object is there whole or not at all, also after a crash: `put` returns when it is on the disk. Whoever lists or
    reads afterwards finds it. Names are words with slashes between them. All raise Invalid for what is no name, and
    Unavailable when the store cannot be reached or does not let us in.
    """

    def put(self, name: str, source: bytes | BinaryIO, *, size: int | None = None) -> int:
        """Keep the bytes under `name`, in place of what was there; how many they were. `size` is how many a file will
        give, when that is known. Raises Full."""

    def get(self, name: str, *, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        """The object from `offset` on, to be read in pieces. Raises NotFound."""

    def read(self, name: str) -> bytes:
        """All of a small object. Raises NotFound."""

    def list(self, prefix: str = "") -> Iterator[str]:
        """The names that begin with `prefix`, in no order. What changes meanwhile may be among them or not."""

    def delete(self, name: str) -> None:
        """Idempotent: what is not there is deleted."""

    def exists(self, name: str) -> bool: ...

    def size(self, name: str) -> int:
        """In bytes. Raises NotFound."""

    def tidy(self) -> None:
        """Drop what interrupted puts of dead processes have left. Objects are untouched."""


def checked(name: str) -> str:
    """The name, if it is one. Raises Invalid."""
    if len(name) > _LONGEST or not _NAME.fullmatch(name):
        raise Invalid(f"{name[:80]!r} is no name for an object")
    return name
