"""The ramdisk's archive: readable by others, and the same for the same tree."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.lab import cpio


def tree(root: Path) -> Path:
    (root / "bin").mkdir(parents=True)
    (root / "bin/busybox").write_bytes(b"\x7fELF" + bytes(61))
    (root / "bin/busybox").chmod(0o755)
    (root / "bin/sh").symlink_to("busybox")
    return root


def test_another_program_unpacks_it(tmp_path: Path) -> None:
    archive = cpio.pack(tree(tmp_path / "in"))
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["busybox", "cpio", "-i"], input=archive, cwd=out, check=True, capture_output=True)
    assert (out / "bin/busybox").read_bytes() == (tmp_path / "in/bin/busybox").read_bytes()
    assert (out / "bin/busybox").stat().st_mode & 0o777 == 0o755
    assert (out / "bin/sh").readlink() == Path("busybox")


def test_times_and_places_do_not_get_in(tmp_path: Path) -> None:
    first, second = tree(tmp_path / "a"), tree(tmp_path / "b")
    os.utime(second / "bin/busybox", (1, 1))
    assert cpio.pack(first) == cpio.pack(second)
