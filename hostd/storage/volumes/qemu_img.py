"""What qemu-img does for layered files, on chains that `blockdev` spells out and that nobody else has open.

It dies with the daemon: what it was doing is done again by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hostd.drivers import DiskSource
from hostd.spec import ErrorCode, HostError
from hostd.storage.commands import NO_SPACE, disk_full
from hostd.storage.volumes import blockdev
from hostd.storage.volumes.backend import Extent
from hostd.storage.volumes.backends.tools import ToolFailed, ask

MEMORY: Final = 4 << 30
"""Bytes of address space that one run gets: what a damaged header could ask for must end somewhere."""

PACE: Final = 5 << 20
"""Bytes a second at which even a slow disk is written."""

LEAST: Final = 120.0
"""Seconds that every run gets."""

_LOCKED: Final = '" lock'
"""Ends `Failed to get shared "write" lock`."""


def commit(disk: DiskSource, *, size: int, where: Path) -> None:
    """Write what the top of a chain holds, `size` bytes at most, down into the file under it; the top stays as it is.

    Raises HostError: DISK_FULL, BAD_STATE when somebody has one of the two open, STORAGE.
    """
    _run("commit", "-q", "-d", blockdev.name(disk), size=size, where=where)


def resize(disk: DiskSource, size: int, *, where: Path) -> None:
    """Grow a disk to `size` bytes. Raises as `commit`."""
    _run("resize", "-q", blockdev.name(disk), str(size), size=0, where=where)


def allocated(disk: DiskSource, *, above: int, where: Path) -> Iterator[Extent]:
    """The ranges that are kept in the `above` topmost files of a chain, in order. Raises as `commit`."""
    for found in json.loads(_run("map", "--output=json", blockdev.name(disk), size=0, where=where)):
        if found["present"] and found["depth"] < above:
            yield Extent(offset=found["start"], length=found["length"], zero=found["zero"])


def _run(verb: str, *argv: str, size: int, where: Path) -> str:
    timeout = LEAST + size / PACE
    try:
        return ask(
            *("prlimit", f"--as={MEMORY}", "--core=0", "--", "qemu-img", verb, *argv),
            timeout=timeout,
            unanswered=f"qemu-img {verb}",
        )
    except ToolFailed as bad:
        if NO_SPACE in bad.said:
            raise disk_full(where, size) from bad
        if _LOCKED in bad.said:
            raise HostError(
                ErrorCode.BAD_STATE,
                f"a volume in {where} is open in another process: {bad.last}",
                hint="a guest, perhaps of another host, has it: detach it or stop that guest",
            ) from bad
        raise HostError(ErrorCode.STORAGE, f"qemu-img {verb}: {bad.last}") from bad
