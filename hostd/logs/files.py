"""Of which files a guest's log consists, and those of guests that were deleted.

<directory>/console.log          what virtlogd writes now
            console.log.0 .1 …   turned over, the higher the older
            console.log.times    when which byte was seen: see `times`
STATE/logs/<uuid>/               the same of an instance that was deleted
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import attrs

KEPT_FOR: Final = 7 * 86400.0
"""Seconds a deleted instance's log is kept."""

KEPT_BYTES: Final = 256 << 20
"""Bytes that logs of deleted instances may take altogether; the oldest go first."""

TIMES: Final = ".times"


def parts(log: Path) -> tuple[Path, ...]:
    """The files of a log that exist, oldest first."""
    numbered: list[tuple[int, Path]] = []
    try:
        names = os.listdir(log.parent)
    except FileNotFoundError:
        return ()
    for name in names:
        number = name.removeprefix(f"{log.name}.")
        if number != name and number.isdecimal():
            numbered.append((int(number), log.parent / name))
    older = tuple(path for _, path in sorted(numbered, reverse=True))
    return (*older, log) if log.name in names else older


def times_of(log: Path) -> Path:
    return log.with_name(log.name + TIMES)


@attrs.frozen
class Kept:
    """The logs of deleted instances."""

    root: Path
    name: str
    """Of the file that is written to, the same for every instance."""

    def log(self, uuid: str) -> Path:
        return self.root / uuid / self.name

    def take(self, uuid: str, log: Path, *, now: float) -> None:
        """The instance is being deleted: its log goes here. Idempotent; raises OSError."""
        found = parts(log)
        if found:
            directory = self.root / uuid
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in (*found, times_of(log)):
                if path.exists():
                    os.replace(path, directory / path.name)
            os.utime(directory, (now, now))
        self.prune(now=now)

    def prune(self, *, now: float) -> None:
        """Those that are too old go, and the oldest while there is too much."""
        kept: list[tuple[float, int, Path]] = []
        for directory in self.root.iterdir() if self.root.exists() else ():
            size = sum(path.stat().st_size for path in directory.iterdir())
            kept.append((directory.stat().st_mtime, size, directory))
        total = sum(size for _, size, _ in kept)
        for since, size, directory in sorted(kept):
            if now - since > KEPT_FOR or total > KEPT_BYTES:
                shutil.rmtree(directory)
                total -= size
