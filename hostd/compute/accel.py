"""Finds out whether guests really run under KVM here.

/dev/kvm may open, answer every ioctl and still never run a guest (nested and emulated virtualisation fail so). Only
a guest that boots proves it: QEMU with the accelerator alone, a kernel and no disk. Such a kernel prints
"Linux version", finds no root file system, panics and, told so, resets: QEMU then ends by itself.
"""

from __future__ import annotations

import grp
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import attrs

from hostd.spec import Accel

TIMEOUT: Final = 10.0
"""Seconds a probe guest gets. Under a working KVM it needs less than one."""

BANNER: Final = b"Linux version"

EMULATORS: Final = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm")
"""Debian's and Red Hat's name of the QEMU that runs guests."""


@attrs.frozen(kw_only=True)
class Probe:
    """What the probe uses of the host; passed in so that each answer can be tested anywhere."""

    device: Path = Path("/dev/kvm")
    kernels: Sequence[Path] = ()
    """Where to look for kernels, best first: files, and directories that hold vmlinuz files."""
    emulator: Sequence[str] | None = None
    """The start of QEMU's command line; None finds it."""
    timeout: float = TIMEOUT
    clock: Callable[[], float] = time.monotonic

    def run(self) -> Accel:
        """Decide. Takes at most `timeout` and a second; leaves no process behind."""
        if not os.access(self.device, os.R_OK | os.W_OK):
            return _tcg(f"no {self.device}")
        kernel = newest_kernel(self.kernels)
        emulator = self.emulator or _emulator()
        if kernel is None:
            return _tcg("kvm present, no kernel to probe with")
        if emulator is None:
            return _tcg("kvm present, no qemu to probe with")
        began = self.clock()
        if not _boots([*emulator, *_arguments(kernel)], timeout=self.timeout):
            return _tcg("kvm present, probe failed")
        return Accel(mode="kvm", reason=f"kvm: probe booted in {self.clock() - began:.1f} s")


def open_to_qemu(device: Path = Path("/dev/kvm"), *, group: str = "kvm") -> bool:
    """Give the device the group and mode that udev gives it, where no udev did. Answers whether it had to.

    While root alone may open it, libvirt (which runs QEMU as another user) finds at every define that KVM is there and
    then that it is not, and probes every machine type again: two minutes a define were seen.
    """
    try:
        had = device.stat()
        kvm = grp.getgrnam(group).gr_gid
    except (FileNotFoundError, KeyError):
        return False
    if had.st_gid != 0 or had.st_mode & 0o060:
        return False
    os.chown(device, -1, kvm)
    device.chmod(0o660)
    return True


def newest_kernel(places: Sequence[Path]) -> Path | None:
    """The first file among `places`; in a directory, the vmlinuz with the highest version."""
    for place in places:
        if place.is_file():
            return place
        if found := [path for path in place.glob("vmlinuz*") if path.is_file()]:
            return max(found, key=lambda path: _version(path.name))
    return None


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", name))


def _tcg(why: str) -> Accel:
    return Accel(mode="tcg", reason=f"tcg ({why})")


def _emulator() -> list[str] | None:
    return next(([path] for name in EMULATORS if (path := shutil.which(name))), None)


def _arguments(kernel: Path) -> list[str]:
    return [
        *("-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-accel", "kvm", "-cpu", "host"),
        *("-m", "256", "-no-reboot", "-serial", "stdio"),
        *("-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"),
    ]


def _boots(command: list[str], *, timeout: float) -> bool:
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return False
    return BANNER in said and process.returncode == 0
