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

    @property
    def owned(self) -> bool:
        return self.name == PREFIX + self.uuid or self.metadata.get("uuid") == self.uuid

    @property
    def quarantined(self) -> bool:
        return "quarantined" in self.metadata
