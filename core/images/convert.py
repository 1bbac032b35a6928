"""A raw disk turned into an image file by qemu-img: formats named, never probed; bounded; without rights.

What lies on the disk is a tenant's, and is nothing but bytes to the program that reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from core.errors import Failed, Unavailable

FORMATS: Final = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx", "vdi": "vdi"}
"""Disk formats that can be made, by qemu-img's name."""

MEMORY: Final = 2 << 30
"""Bytes of address space."""

SECONDS: Final = 6 * 3600.0

_NOBODY: Final = 65534
_PERCENT: Final = re.compile(rb"\((\d+)\.\d+/100%\)")


async def convert(
    source: Path, target: Path, *, disk_format: str, limit: int, progress: Callable[[int], None] = lambda percent: None
) -> None:
    """Write the raw disk `source` as `target`, of at most `limit` bytes; what was there is replaced.

    Sparse where the disk is zeros. Cancelled, or when it raises, the target is gone. Raises Failed, with what qemu-img
    said; Unavailable when there is no qemu-img.
    """
    qemu_img, prlimit = shutil.which("qemu-img"), shutil.which("prlimit")
    if qemu_img is None or prlimit is None:
        raise Unavailable("qemu-img and prlimit are needed to make images", hint="Install qemu-utils and util-linux.")
    limits = [f"--as={MEMORY}", "--core=0", "--nofile=64", f"--fsize={limit}"]
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    writing = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    process: asyncio.subprocess.Process | None = None
    try:
        nobody: dict[str, object] = {}
        if os.geteuid() == 0:
            # The open files go in instead of their paths: nobody else can reach the store's directories.
            os.fchmod(reading, 0o444)
            os.fchown(writing, _NOBODY, _NOBODY)
            os.fchmod(writing, 0o600)  # an earlier attempt may have finished it
            nobody = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        process = await asyncio.create_subprocess_exec(
            prlimit, *limits, qemu_img, "convert", "-p", "-f", "raw", "-O", FORMATS[disk_format],
            f"/proc/self/fd/{reading}", f"/proc/self/fd/{writing}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            pass_fds=(reading, writing),
            **nobody,  # type: ignore[arg-type]
        )  # fmt: skip
        try:
            async with asyncio.timeout(SECONDS):
                said = await _told(process, progress)
        except TimeoutError as slow:
            raise Failed(f"making the image took longer than {SECONDS / 3600:g} h") from slow
        if process.returncode != 0:
            last = said.strip().rpartition("\n")[2] or f"it ended with {process.returncode}"
            raise Failed(
                f"the image could not be made: {last}",
                hint="Is there room for it on the controller, and is it within the project's image_size?",
            )
        os.fchown(writing, os.geteuid(), os.getegid())
        os.fchmod(writing, 0o400)
        await asyncio.to_thread(os.fsync, writing)
    except BaseException:
        os.unlink(target)
        raise
    finally:
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
        os.close(reading)
        os.close(writing)


async def _told(process: asyncio.subprocess.Process, progress: Callable[[int], None]) -> str:
    """What it said on stderr when it has ended."""
    assert process.stdout is not None
    assert process.stderr is not None
    said = asyncio.ensure_future(process.stderr.read(4096))
    try:
        while piece := await process.stdout.read(4096):
            for percent in _PERCENT.findall(piece):
                progress(int(percent))
        await process.wait()
        return (await said).decode(errors="replace")
    finally:
        said.cancel()
