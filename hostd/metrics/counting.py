"""Counters as they are found: the host's in /proc, a guest's in what libvirt tells of all guests at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import attrs

from hostd.network.names import TAP_PREFIX
from hostd.spec.metrics import GuestSample, HostSample

STALE: Final = 60
"""Seconds after which what a guest's balloon driver said of its memory is not believed any more."""

_TICK: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
"""Nanoseconds."""

_NOT_BUSY: Final = frozenset({3, 4, 7})
"""Fields of /proc/stat's first line: idle, iowait, and what a hypervisor beneath took. Those after them count twice."""


@attrs.frozen(kw_only=True)
class Counting:
    """The host's own figures."""

    disk: Path
    """Some directory of the file system that holds the guests' disks."""
    proc: Path = Path("/proc")
    net: Path = Path("/sys/class/net")

    def sample(self, at_us: int) -> HostSample:
        """Raises OSError."""
        with (self.proc / "stat").open() as stat:
            ticks = [int(field) for field in stat.readline().split()[1:9]]
        memory = self._memory()
        disk = os.statvfs(self.disk)
        rx, tx = self._network()
        return HostSample(
            at_us=at_us,
            cpu_busy_ns=_TICK * sum(count for field, count in enumerate(ticks) if field not in _NOT_BUSY),
            cpus=os.cpu_count() or 1,
            memory_used=memory["MemTotal"] - memory["MemAvailable"],
            memory_total=memory["MemTotal"],
            disk_used=(disk.f_blocks - disk.f_bfree) * disk.f_frsize,
            disk_total=(disk.f_blocks - disk.f_bfree + disk.f_bavail) * disk.f_frsize,
            load1=float((self.proc / "loadavg").read_text().split(maxsplit=1)[0]),
            net_rx_bytes=rx,
            net_tx_bytes=tx,
        )

    def _memory(self) -> dict[str, int]:
        """Bytes."""
        found = {}
        with (self.proc / "meminfo").open() as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name in ("MemTotal", "MemAvailable"):
                    found[name] = 1024 * int(value.split()[0])
                    if len(found) == 2:
                        break
        return found

    def _network(self) -> tuple[int, int]:
        """(bytes in, bytes out) of the interfaces that are hardware; where none is, as in a container, of all that
        are not guests' and not loopback."""
        hardware: list[tuple[int, int]] = []
        others: list[tuple[int, int]] = []
        for line in (self.proc / "net/dev").read_text().splitlines()[2:]:
            name, _, numbers = line.partition(":")
            name = name.strip()
            if name == "lo" or name.startswith(TAP_PREFIX):
                continue
            fields = numbers.split()
            kept = hardware if (self.net / name / "device").exists() else others
            kept.append((int(fields[0]), int(fields[8])))
        counted = hardware or others
        return sum(rx for rx, _ in counted), sum(tx for _, tx in counted)


def guest_sample_of(uuid: str, numbers: dict[str, int], *, at_us: int, vcpus: int) -> GuestSample | None:
    """libvirt's numbers of one running guest, summed over its disks and interfaces.

    None while libvirt has only a part of them, because something else is being done to the guest: zeros in place of
    the others would be taken for a guest that began anew.
    """
    disks, nics = numbers.get("block.count", 0), numbers.get("net.count", 0)
    partial = disks and not any(f"block.{index}.rd.bytes" in numbers for index in range(disks))
    if partial or "cpu.time" not in numbers:
        return None

    def total(group: str, count: int, field: str) -> int:
        return sum(numbers.get(f"{group}.{index}.{field}", 0) for index in range(count))

    told = _told_memory(numbers, at_us // 1_000_000)
    return GuestSample(
        uuid=uuid,
        at_us=at_us,
        cpu_ns=numbers["cpu.time"],
        vcpus=vcpus,
        memory_used=1024 * (numbers.get("balloon.rss", 0) if told is None else told),
        memory_max=1024 * numbers.get("balloon.maximum", 0),
        memory_guest=told is not None,
        disk_read_bytes=total("block", disks, "rd.bytes"),
        disk_write_bytes=total("block", disks, "wr.bytes"),
        disk_read_ops=total("block", disks, "rd.reqs"),
        disk_write_ops=total("block", disks, "wr.reqs"),
        net_rx_bytes=total("net", nics, "rx.bytes"),
        net_tx_bytes=total("net", nics, "tx.bytes"),
        net_rx_packets=total("net", nics, "rx.pkts"),
        net_tx_packets=total("net", nics, "tx.pkts"),
    )


def _told_memory(numbers: dict[str, int], now: int) -> int | None:
    """KiB in use, as the guest's balloon driver says; None when it does not, or has not for a while."""
    if now - numbers.get("balloon.last-update", 0) > STALE or "balloon.available" not in numbers:
        return None
    free = numbers.get("balloon.usable", numbers.get("balloon.unused"))
    return None if free is None else max(0, numbers["balloon.available"] - free)
