"""The distribution's own cloud-init, to be asked what it makes of us: unpacked into the cache and never installed.

An installed one would take this machine for a guest of ours.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.lab import debs
from tests.lab.guest import CACHE

PYTHON: Final = "/usr/bin/python3"
"""Its packages are made for the distribution's python, not for the one that tests run on."""


def unpack(cache: Path = CACHE) -> Path:
    """A tree like /, with cloud-init and the Python packages it needs. Raises DownloadError."""
    cache.mkdir(parents=True, exist_ok=True)
    tree = cache / "cloud-init"
    if tree.exists():
        return tree
    names = debs.needs("cloud-init", r"cloud-init|python3-(?!minimal)\S+")
    files = debs.fetch(names or ["cloud-init"], cache / "cloud-init-debs")
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        for file in files.glob("*.deb"):
            subprocess.run(["dpkg", "-x", file, f"{scratch}/tree"], check=True)
        try:
            Path(scratch, "tree").rename(tree)
        except OSError:
            if not tree.exists():
                raise
    return tree
