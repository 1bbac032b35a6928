"""Every change that a backend of files makes, one at a time and each in one go: the tests end the world at any of them.

A file is on the disk before its name is, and a name before whatever counts on it.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from hostd.spec import ErrorCode, HostError
from hostd.storage.instances import from_os_error, place, sync

_SMALL = 1 << 20
"""Bytes that a directory, a manifest or an empty layer takes; only told to the person whose disk is full."""


class Effects:
    """What changes files. All raise HostError: DISK_FULL, INTERNAL."""

    def __init__(self, at: Callable[[str], None] = lambda _: None) -> None:
        """`at` is told of each change as it is made; what it raises ends the work there."""
        self._at = at

    def put(self, path: Path, make: Callable[[Path], None], *, needed: int = _SMALL) -> None:
        """Make a file, whole and for good, in the place of what has its name. `make` is given another name first."""

        def making(part: Path) -> None:
            make(part)
            self._at(f"made {part.name}")

        self._change(f"put {path.name}", path.parent, lambda: place(path, making, needed=needed), needed=needed)

    def directory(self, path: Path) -> None:
        """Make a directory, in one that is there, for this daemon and for guests' QEMU."""

        def make() -> None:
            path.mkdir(exist_ok=True)
            path.chmod(0o711)

        self._change(f"mkdir {path.name}", path.parent, make)

    def link(self, source: Path, target: Path) -> None:
        """Give a file another name."""
        self._change(f"link {target.name}", target.parent, lambda: os.link(source, target, follow_symlinks=False))

    def symlink(self, to: Path, path: Path) -> None:
        self._change(f"symlink {path.name}", path.parent, lambda: path.symlink_to(to))

    def replace(self, source: Path, target: Path) -> None:
        """Give a file another's name in the same directory; the other one is gone."""
        self._change(f"replace {target.name}", target.parent, partial(os.replace, source, target))

    def remove(self, directory: Path, names: Iterable[str]) -> None:
        """Delete files of a directory; those that are gone already, too. Links are deleted, never followed."""
        for name in names:
            path = directory / name
            self._change(f"remove {name}", directory, partial(path.unlink, missing_ok=True))

    def empty(self, directory: Path) -> None:
        """Delete everything inside a directory that is no volume. Raises BAD_STATE when it is something else than a
        directory."""
        try:
            mode = os.lstat(directory).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(mode):
            raise HostError(ErrorCode.BAD_STATE, f"{directory} is no directory: what is behind it is not deleted")
        with os.scandir(directory) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, inner in found:
            if inner:
                self._change(f"remove {name}", directory, partial(shutil.rmtree, directory / name))
        self.remove(directory, [name for name, inner in found if not inner])

    def rmdir(self, directory: Path) -> None:
        def remove() -> None:
            try:
                directory.rmdir()
            except FileNotFoundError:
                return

        self._change(f"rmdir {directory.name}", directory.parent, remove)

    def run(self, what: str, work: Callable[[], None]) -> None:
        """Something that changes what is in files."""
        work()
        self._at(what)

    def _change(self, what: str, where: Path, work: Callable[[], None], *, needed: int = _SMALL) -> None:
        try:
            work()
            if where.exists():
                sync(where)
        except OSError as bad:
            raise from_os_error(bad, where=where, needed=needed) from bad
        self._at(what)
