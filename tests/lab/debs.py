"""Distribution packages that are read and not installed: downloaded once, into a directory of the cache."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


class DownloadError(Exception):
    """apt's own words."""


def needs(name: str, pattern: str) -> list[str]:
    """Of a package and all that it depends on, those whose names match; empty when apt does not know it."""
    shown = subprocess.run(
        ["apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
         "--no-replaces", "--no-enhances", name],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    return sorted(set(re.findall(rf"^({pattern})$", shown, re.MULTILINE)))


def fetch(names: Sequence[str], target: Path) -> Path:
    """Have the packages' files in `target`, all or none. Safe when several processes ask at once."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        # apt downloads as its own user, which may not write into a private directory.
        done = subprocess.run(
            ["apt-get", "download", "-q", *names], cwd=scratch, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise DownloadError(f"apt-get download {' '.join(names)}: {done.stderr.strip()}")
        try:
            Path(scratch).rename(target)
        except OSError:
            if not target.exists():
                raise
        else:
            Path(scratch).mkdir()  # for the context manager to remove
    return target
