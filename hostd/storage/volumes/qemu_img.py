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
from hostd.storage.volumes.backend import Extent, Progress
from hostd.storage.volumes.backends import tools

TIMEOUT: Final = 600.0
"""Seconds for what reads or writes tables only."""


def commit(disk: DiskSource, *, size: int, progress: Progress) -> None:
    """Write what the top of a chain holds, `size` bytes at most, down into the file under it; the top stays as it is.

    Raises HostError: DISK_FULL, BAD_STATE when somebody has one of the two open, STORAGE.
    """
    tools.qemu_img("commit", "-p", "-d", blockdev.name(disk), size=size, progress=progress)


def resize(disk: DiskSource, size: int, *, where: Path) -> None:
    """Grow a disk to `size` bytes. Raises as `commit`; `where` is the directory written to."""
    _run("resize", "-q", blockdev.name(disk), str(size), where=where)


def allocated(disk: DiskSource, *, above: int, where: Path) -> Iterator[Extent]:
    """The ranges that are kept in the `above` topmost files of a chain, in order. Raises as `commit`."""
    for found in json.loads(_run("map", "--output=json", blockdev.name(disk), where=where)):
        if found["present"] and found["depth"] < above:
            yield Extent(offset=found["start"], length=found["length"], zero=found["zero"])


def _run(verb: str, *argv: str, where: Path) -> str:
    try:
        return tools.ask(*tools.LIMITED, "qemu-img", verb, *argv, timeout=TIMEOUT, unanswered=f"qemu-img {verb}")
    except tools.ToolFailed as bad:
        if NO_SPACE in bad.said:
            raise disk_full(where, 0) from bad
        if tools.LOCKED in bad.said:
            raise HostError(
                ErrorCode.BAD_STATE,
                f"a volume in {where} is open in another process: {bad.last}",
                hint="a guest, perhaps of another host, has it: detach it or stop that guest",
            ) from bad
        raise HostError(ErrorCode.STORAGE, f"qemu-img {verb}: {bad.last}") from bad
