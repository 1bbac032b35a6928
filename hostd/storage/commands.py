"""Runs the disk tools. One place, because each needs the same care: an argument list and never a shell, a
time limit, no terminal, and an error that names the cause; a full disk is told apart from all else."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hostd.spec import ErrorCode, HostError

PACKAGES: Final = {
    "mkfs.ext4": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mkfs.ntfs": "ntfs-3g",
    "mkswap": "util-linux",
}
"""Debian's package of each tool, for the hint when one is missing."""

NO_SPACE: Final = "No space left on device"
"""What the C library says for ENOSPC in the locale that `run` sets."""

_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def run(argv: Sequence[str], *, where: Path, needed: int, timeout: float = 60.0) -> None:
    """Run one tool that writes into `where`, which needs about `needed` bytes there.

    Raises HostError(DISK_FULL) naming free and needed bytes, HostError(INTERNAL) for a tool that is missing,
    takes longer than `timeout` seconds or fails.
    """
    tool = argv[0]
    if shutil.which(tool, path=_ENVIRONMENT["PATH"]) is None:
        raise HostError(
            ErrorCode.INTERNAL,
            f"{tool} is not installed on this host",
            hint=f"install the package {PACKAGES.get(tool, tool)} and retry",
        )
    try:
        done = subprocess.run(
            list(argv), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, env=_ENVIRONMENT, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise HostError(ErrorCode.INTERNAL, f"{tool} did not end within {timeout:.0f} s") from late
    if done.returncode == 0:
        return
    said = done.stderr.decode(errors="replace").strip()
    if NO_SPACE in said:
        raise disk_full(where, needed)
    last = said.splitlines()[-1] if said else f"exit status {done.returncode}"
    raise HostError(ErrorCode.INTERNAL, f"{tool} failed: {last}")


def disk_full(where: Path, needed: int) -> HostError:
    """The error that says how much is free below `where` and how much was needed, in bytes."""
    stats = os.statvfs(where)
    return HostError(
        ErrorCode.DISK_FULL,
        f"disk full: {where} has {stats.f_bavail * stats.f_frsize} bytes free, {needed} needed",
        hint="free space on the host, or delete instances or images there",
    )
