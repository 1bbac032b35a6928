"""Empty disks, as QEMU's own tools see them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from hostd.storage import qcow2

GIB = 1 << 30


def qemu(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("size", [512, GIB, GIB + 512, 1024 * GIB, 10240 * GIB])
def test_an_empty_disk_is_sound_and_laid_out_as_qemus_own(tmp_path: Path, size: int) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    qcow2.create(ours, size=size)
    qemu("qemu-img", "create", "-q", "-f", "qcow2", theirs, str(size))
    seen, reference = (json.loads(qemu("qemu-img", "info", "--output=json", path)) for path in (ours, theirs))
    assert seen["format-specific"] == reference["format-specific"]
    assert seen["virtual-size"] == size
    qemu("qemu-img", "check", "-q", "-f", "qcow2", ours)  # ends with an error for a leak as for damage
    qemu("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "qcow2", ours, theirs)


def test_a_size_is_rounded_up_to_sectors(tmp_path: Path) -> None:
    qcow2.create(tmp_path / "disk", size=1000)
    assert json.loads(qemu("qemu-img", "info", "--output=json", tmp_path / "disk"))["virtual-size"] == 1024


def test_what_is_not_written_is_read_from_the_backing_file(tmp_path: Path) -> None:
    base, disk = tmp_path / "base", tmp_path / "disk"
    base.write_bytes(b"\7" * (1 << 20))
    qcow2.create(disk, size=GIB, backing=(str(base), "raw"))
    patterns = ("read -P 7 0 1M", "read -P 0 1M 1M", "write -P 9 64k 64k", "read -P 9 64k 64k", "read -P 7 128k 64k")
    qemu("qemu-io", "-f", "qcow2", *(word for pattern in patterns for word in ("-c", pattern)), disk)
    qemu("qemu-img", "check", "-q", "-f", "qcow2", disk)
    info = json.loads(qemu("qemu-img", "info", "--output=json", disk))
    assert (info["backing-filename"], info["backing-filename-format"]) == (str(base), "raw")


def test_a_name_that_qemu_would_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="beyond 1023"):
        qcow2.create(tmp_path / "disk", size=GIB, backing=("/" + "x" * 1023, "raw"))
    assert not (tmp_path / "disk").exists()
