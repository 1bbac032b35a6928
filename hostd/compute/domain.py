"""A domain as libvirt has it, in our words: what deciding needs and talking to libvirt does not."""

from __future__ import annotations

import attrs

from hostd.compute.domain_xml import PREFIX
from hostd.spec import GuestStats, PowerState


@attrs.frozen(kw_only=True)
class Domain:
    """One libvirt domain, as it is."""

    uuid: str
    name: str
    power: PowerState
    active: bool
    """A QEMU process runs it, or stands paused."""
    persistent: bool
    saved: bool
    """A managed save image exists: the next start goes on from there."""
    metadata: dict[str, str]
    """Ours: uuid, machine, digest, quarantined. Of the persistent definition; empty when it has none."""
    stats: GuestStats | None = None
    macs: frozenset[str] | None = None
    """Of the interfaces a running guest has now, whatever its definition says; None for a guest that is off."""
    volumes: tuple[str, ...] = ()
    """uuids of those a running guest has plugged in now, of a guest that is off those of its definition."""

    @property
    def owned(self) -> bool:
        return self.name == PREFIX + self.uuid or self.metadata.get("uuid") == self.uuid

    @property
    def quarantined(self) -> bool:
        return "quarantined" in self.metadata


def stats_of(numbers: dict[str, int]) -> GuestStats:
    """libvirt's counters of one domain, summed over its disks and interfaces."""

    def total(group: str, field: str) -> int:
        return sum(numbers.get(f"{group}.{index}.{field}", 0) for index in range(numbers.get(f"{group}.count", 0)))

    return GuestStats(
        cpu_time_ns=numbers.get("cpu.time", 0),
        memory_mb=numbers.get("balloon.rss", 0) // 1024,
        disk_read_bytes=total("block", "rd.bytes"),
        disk_write_bytes=total("block", "wr.bytes"),
        net_rx_bytes=total("net", "rx.bytes"),
        net_tx_bytes=total("net", "tx.bytes"),
    )
