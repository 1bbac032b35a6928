"""The second look at an image, by qemu-img: with the format said and never probed, within limits, without rights.

It comes after core/images/inspector has passed the file. Where the two disagree the file is refused, since a guest's
QEMU would believe what qemu-img believes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from core.errors import Unavailable
from core.images.inspector import ImageRejected, Inspected
from hostd.spec import DiskFormat

MEMORY: Final = 1024**3
"""Bytes of address space (nova's and glance's limit for the same)."""

CPU_SECONDS: Final = 30
WALL_SECONDS: Final = 60.0

_NOBODY: Final = 65534
_NAMES: Final = {DiskFormat.ISO: "raw"}
"""Formats that QEMU calls otherwise."""

_NOT_DISKS: Final = (DiskFormat.AKI, DiskFormat.ARI)


def check_with_qemu_img(path: Path, inspected: Inspected) -> None:
    """Compare qemu-img's view of the file with the inspector's.

    Kernels and ramdisks are no disk images and pass. Raises ImageRejected when the views differ, when qemu-img refuses
    the file or exceeds its limits, Unavailable when there is no qemu-img.
    """
    if inspected.format in _NOT_DISKS:
        return
    info = _info(path, _NAMES.get(inspected.format, inspected.format.value))
    if info.get("virtual-size") != inspected.virtual_size:
        raise ImageRejected(
            f"qemu-img sees a disk of {info.get('virtual-size')} bytes, the header declares {inspected.virtual_size}",
            "re-create the image with qemu-img convert",
        )
    for key in ("backing-filename", "full-backing-filename"):
        if key in info:
            raise ImageRejected("qemu-img sees a backing file", "flatten the image with qemu-img convert")
    specific = info.get("format-specific", {}).get("data", {})
    if "data-file" in specific or len(specific.get("extents", [])) > 1:
        raise ImageRejected("qemu-img sees data in another file", "re-create the image with qemu-img convert")


def _info(path: Path, name: str) -> dict[str, Any]:
    qemu_img, prlimit = shutil.which("qemu-img"), shutil.which("prlimit")
    if qemu_img is None or prlimit is None:
        raise Unavailable("qemu-img and prlimit are needed to check images", hint="install qemu-utils and util-linux")
    limits = [f"--as={MEMORY}", f"--cpu={CPU_SECONDS}", "--core=0", "--nofile=64", "--fsize=0"]
    nobody: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    # The open file goes in instead of its path: nobody else can reach the store's directories.
    with path.open("rb") as image:
        try:
            done = subprocess.run(
                [prlimit, *limits, qemu_img, "info", "--output=json", "--force-share", "-f", name, "/dev/stdin"],
                stdin=image,
                capture_output=True,
                timeout=WALL_SECONDS,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
                check=False,
                **nobody,
            )
        except subprocess.TimeoutExpired as bad:
            raise ImageRejected("qemu-img did not come to an end with this image", "re-create the image") from bad
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or f"exit {done.returncode}"
        raise ImageRejected(f"qemu-img refuses the image: {said}", "check it with `qemu-img check`")
    info: dict[str, Any] = json.loads(done.stdout)
    return info
