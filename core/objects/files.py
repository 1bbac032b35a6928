"""Objects as files of a directory, a local or a mounted one."""

from __future__ import annotations

import builtins
import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from core.errors import NotFound, Unavailable
from core.objects.store import Full, checked

_INCOMING: Final = ".incoming"
_PIECE: Final = 1 << 20


class FileObjects:
    """ObjectStore in a directory: written beside, synced, renamed into place."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    def put(self, name: str, source: bytes | BinaryIO, *, size: int | None = None) -> int:
        target = self._path(name)
        with self._told(name):
            incoming = self._root / _INCOMING
            incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = incoming / secrets.token_hex(8)
            with fresh.open("xb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX)  # a tidier sees that its writer lives
                    if isinstance(source, bytes):
                        file.write(source)
                    else:
                        shutil.copyfileobj(source, file, _PIECE)
                    file.flush()
                    os.fsync(file.fileno())
                    written = file.tell()
                    _make_folder(self._root, target.parent)
                    fresh.rename(target)
                except BaseException:
                    fresh.unlink(missing_ok=True)
                    raise
            _sync_folder(target.parent)
        return written

    @contextlib.contextmanager
    def get(self, name: str, *, offset: int = 0) -> Iterator[BinaryIO]:
        with self._told(name):
            file = self._path(name).open("rb")
        with file:
            file.seek(offset)
            yield file

    def read(self, name: str) -> bytes:
        with self._told(name):
            return self._path(name).read_bytes()

    def list(self, prefix: str = "") -> Iterator[str]:
        # Only the folder that the prefix names need be gone through.
        folder = self._root / prefix.rpartition("/")[0]
        for found, folders, files in os.walk(folder, onerror=self._cannot_list):
            folders[:] = [name for name in folders if not name.startswith(".")]
            base = os.path.relpath(found, self._root)
            for file in files:
                name = file if base == "." else f"{base}/{file}"
                if name.startswith(prefix):
                    yield name

    def delete(self, name: str) -> None:
        with self._told(name):
            self._path(name).unlink(missing_ok=True)

    def exists(self, name: str) -> bool:
        with self._told(name):
            return self._path(name).is_file()

    def size(self, name: str) -> int:
        with self._told(name):
            return self._path(name).stat().st_size

    def tidy(self) -> None:
        with self._told(_INCOMING):
            for path in builtins.list((self._root / _INCOMING).glob("*")):
                with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()

    def _path(self, name: str) -> Path:
        return self._root / checked(name)

    def _cannot_list(self, bad: OSError) -> None:
        if isinstance(bad, FileNotFoundError):
            return  # nothing was ever put there, or it went while we looked
        raise Unavailable(f"{self} cannot be read: {bad.strerror}", hint="Look at the directory.") from bad

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """File errors in the words of the contract."""
        try:
            yield
        except FileNotFoundError as bad:
            raise NotFound(f"{self} has no {name}") from bad
        except OSError as bad:
            if bad.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                free = shutil.disk_usage(self._root).free
                raise Full(
                    f"{self} is full: {free} bytes free", hint="Free some space there, or delete old backups or images."
                ) from bad
            raise Unavailable(f"{self} cannot be used: {bad.strerror}", hint="Look at the directory.") from bad


def _make_folder(root: Path, folder: Path) -> None:
    """With its parents, each durable in its own."""
    if folder == root or folder.exists():
        return
    _make_folder(root, folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
