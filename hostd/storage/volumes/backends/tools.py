"""Runs the command lines that backends stand on (rbd, lvm, tgtadm) and QEMU's copying into what they made.

One place, for the same care each time: an argument list and never a shell, a time limit, no terminal, the C locale,
and errors that name the cause. What runs long ends with this daemon: nobody goes on writing when it starts again.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import subprocess
from typing import Final

from hostd.drivers import DiskSource
from hostd.spec import ErrorCode, HostError
from hostd.storage.volumes import blockdev
from hostd.storage.volumes.backend import Progress

PACKAGES: Final = {
    "rbd": "ceph-common",
    "ceph": "ceph-common",
    "tgtadm": "tgt",
    **dict.fromkeys(("lvs", "lvcreate", "lvchange", "lvextend", "lvconvert", "lvremove", "lvrename"), "lvm2"),
    "dmsetup": "dmsetup",
    "thin_delta": "thin-provisioning-tools",
    "qemu-img": "qemu-utils",
}
"""Debian's package of each tool, for the hint when one is missing."""

ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

BOUND: Final = ("setpriv", "--pdeathsig", "KILL")
"""Before a command that shall not outlive the thread which waits for it."""

LIMITED: Final = ("prlimit", f"--as={4 << 30}", "--core=0", "--")
"""Before a QEMU tool: what a damaged header could ask for must end somewhere."""

LOCKED: Final = '" lock'
"""Ends `Failed to get shared "write" lock`, which QEMU says of what another has open."""

_PACE: Final = 4 << 20
"""Bytes a second below which a copy is taken for stuck."""

_STEP: Final = 0.01
"""The part of a copy after which QEMU tells of progress."""

_PERCENT: Final = re.compile(rb"\((\d+)\.\d+/100%\)")

NO_SPACE: Final = ("No space left on device", "Disk quota exceeded")
"""What tools say of a place that is full, whatever they end with."""


class ToolFailed(Exception):
    """A tool ended with another status than 0; the caller knows what that means."""

    def __init__(self, tool: str, status: int, said: str) -> None:
        self.tool = tool
        self.status = status
        self.said = said.strip()
        super().__init__(f"{tool} failed: {self.last}")

    @property
    def last(self) -> str:
        """Its last words, which hold the cause."""
        lines = [line.strip() for line in self.said.splitlines() if "--help" not in line]
        return lines[-1] if lines else f"exit status {self.status}"


def ask(*argv: str, timeout: float, unanswered: str, hint: str = "") -> str:
    """Run one tool to its end; its output. `unanswered` says, for a person, what did not answer within `timeout`.

    Raises ToolFailed; HostError(STORAGE) when the tool is missing or does not end in time.
    """
    _installed(argv[0])
    try:
        done = subprocess.run(
            [*BOUND, *argv], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, env=ENVIRONMENT,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        raise HostError(ErrorCode.STORAGE, f"{unanswered} did not answer within {timeout:.0f} s", hint=hint) from late
    if done.returncode != 0:
        raise ToolFailed(argv[0], done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout.decode(errors="replace")


def copy(source: DiskSource, target: DiskSource, *, size: int, progress: Progress) -> None:
    """Write the contents of `source` over those of `target`, which holds nothing but zeros and has `size` bytes.

    On the disk when it returns. Raises HostError(STORAGE), DISK_FULL.
    """
    qemu_img(
        "convert", "-p", "-n", "--target-is-zero", "-W", "-t", "writeback",
        "-f", source.format, "-O", target.format,
        blockdev.name(source), blockdev.name(target),
        size=size, progress=progress,
    )  # fmt: skip


def qemu_img(*argv: str, size: int, progress: Progress) -> None:
    """Run qemu-img with a verb that moves `size` bytes at most, and tells of it (-p).

    Raises HostError: DISK_FULL, BAD_STATE when somebody else has a disk of it open, STORAGE.
    """
    _installed("qemu-img")
    patience = 60 + size * _STEP / _PACE
    with subprocess.Popen(
        [*BOUND, *LIMITED, "qemu-img", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as tool:
        try:
            words = _follow(tool, patience, progress)
        finally:
            tool.kill()  # nothing happens to one that has ended
    if tool.returncode == 0:
        return
    failed = ToolFailed("qemu-img", tool.returncode, words)
    if any(full in words for full in NO_SPACE):
        raise HostError(
            ErrorCode.DISK_FULL, f"disk full: {size} bytes were being copied", hint="free space in the backend"
        )
    if LOCKED in words:
        raise HostError(
            ErrorCode.BAD_STATE,
            f"a disk is open in another process: {failed.last}",
            hint="a guest, perhaps of another host, has it: detach it or stop that guest",
        )
    raise HostError(ErrorCode.STORAGE, str(failed))


def _follow(tool: subprocess.Popen[bytes], patience: float, progress: Progress) -> str:
    """Hear it out; what it complains of. Raises HostError(STORAGE) when it says nothing for `patience` seconds."""
    assert tool.stdout is not None
    assert tool.stderr is not None
    complaint, told = b"", -1
    with selectors.DefaultSelector() as both:
        both.register(tool.stdout, selectors.EVENT_READ)
        both.register(tool.stderr, selectors.EVENT_READ)
        while both.get_map():
            ready = both.select(patience)
            if not ready:
                raise HostError(
                    ErrorCode.STORAGE,
                    f"the copy did not get on for {patience:.0f} s and was given up",
                    hint="look at the network and at the storage behind it",
                )
            for key, _ in ready:
                piece = os.read(key.fd, 4096)
                if not piece:
                    both.unregister(key.fileobj)
                elif key.fileobj is tool.stderr:
                    complaint += piece
                elif (found := _PERCENT.findall(piece)) and (percent := int(found[-1])) > told:
                    told = percent
                    progress(percent)
    tool.wait()
    return complaint.decode(errors="replace")


def _installed(tool: str) -> None:
    if shutil.which(tool, path=ENVIRONMENT["PATH"]) is None:
        raise HostError(
            ErrorCode.STORAGE,
            f"{tool} is not installed on this host",
            hint=f"install the package {PACKAGES.get(tool, tool)} there",
        )
