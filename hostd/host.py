"""Facts about the machine itself: who it is, what it has, what it runs."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_OID, uuid5

import attrs

from hostd.spec import Capacity

UUID_FILE: Final = "host.uuid"

_GIB: Final = 1024**3


@attrs.define(kw_only=True)
class Machine:
    """This machine, read through /proc; `proc` may be another tree in tests."""

    state: Path
    """hostd's state directory: its file system is what guests' disks fill."""
    new_id: Callable[[], str]
    proc: Path = Path("/proc")

    def uuid(self) -> str:
        """The host's identity. Kept beside the journal and not in it: it survives a lost journal."""
        file = self.state / UUID_FILE
        try:
            return file.read_text().strip()
        except FileNotFoundError:
            fresh = file.with_suffix(".new")
            fresh.write_text(f"{self.new_id()}\n")
            fresh.rename(file)
            return file.read_text().strip()

    def hostname(self) -> str:
        return socket.gethostname()

    def boot_id(self) -> str:
        """Changes with every boot: of the machine, or of the container that has its own init."""
        kernel = (self.proc / "sys/kernel/random/boot_id").read_text().strip()
        # After the command, which may hold blanks and brackets, field 22 of stat(5) is 19 further on.
        started = (self.proc / "1/stat").read_text().rpartition(")")[2].split()[19]
        return str(uuid5(NAMESPACE_OID, f"{kernel} {started}"))

    def capacity(self) -> Capacity:
        """What the host has now. libvirt's nodeinfo is wrong on some machines: /proc is not."""
        memory = self._fields("meminfo")
        cpu = self._fields("cpuinfo")
        disk = os.statvfs(self.state)
        return Capacity(
            arch=platform.machine(),
            cpu_model=cpu.get("model name", ""),
            vcpus=os.cpu_count() or 1,
            ram_mb=_kib(memory["MemTotal"]) // 1024,
            ram_free_mb=_kib(memory["MemAvailable"]) // 1024,
            disk_gb=disk.f_blocks * disk.f_frsize // _GIB,
            disk_free_gb=disk.f_bavail * disk.f_frsize // _GIB,
            load1=float((self.proc / "loadavg").read_text().split()[0]),
            uptime=int(float((self.proc / "uptime").read_text().split()[0])),
        )

    def versions(self) -> dict[str, str]:
        """kernel, python and distribution; libvirt and qemu are the guest driver's to tell."""
        try:
            release: Mapping[str, str] = platform.freedesktop_os_release()
        except OSError:
            release = {}
        return {
            "kernel": platform.release(),
            "python": platform.python_version(),
            "distribution": release.get("PRETTY_NAME", "unknown"),
        }

    def _fields(self, name: str) -> dict[str, str]:
        """`key: value` lines; of a key that repeats, as in cpuinfo, the first."""
        fields: dict[str, str] = {}
        for line in (self.proc / name).read_text().splitlines():
            key, colon, value = line.partition(":")
            if colon:
                fields.setdefault(key.strip(), value.strip())
        return fields


def _kib(value: str) -> int:
    return int(value.removesuffix(" kB"))
