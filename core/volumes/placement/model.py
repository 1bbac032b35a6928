"""What is chosen among: one request and every place where a volume could be kept, as plain values."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

GIB = 1 << 30


def key(backend_id: str, host_id: str | None) -> str:
    """What a place is known by."""
    return f"{backend_id}@{host_id}" if host_id else backend_id


class Place(NamedTuple):
    """A backend; of a local one, on one host."""

    backend_id: str
    backend: str
    driver: str
    host_id: str | None
    """None: of a shared backend."""
    host: str
    enabled: bool
    disabled_reason: str
    zone: str
    """Empty: of every zone."""
    reached_by: frozenset[str]
    """Ids of hosts that are up and reach it."""
    unreached: str
    """Why nobody does, in the words of a host that tried."""
    capabilities: frozenset[str]
    total_gb: int
    free_gb: int
    promised_gb: int
    """The sizes of all volumes there."""
    ratio: float
    reserved_percent: int

    @property
    def name(self) -> str:
        """As in the funnel: `local@h1`, `ceph`."""
        return f"{self.backend}@{self.host}" if self.host_id else self.backend

    @property
    def key(self) -> str:
        return key(self.backend_id, self.host_id)

    @property
    def thin(self) -> bool:
        return "thin" in self.capabilities

    @property
    def reserved_gb(self) -> int:
        return self.total_gb * self.reserved_percent // 100

    @property
    def room_gb(self) -> float:
        """What may still be promised (cinder's virtual free capacity)."""
        really = self.free_gb - self.reserved_gb
        if not self.thin:
            return really
        return min(self.total_gb * self.ratio - self.promised_gb, really * self.ratio)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One volume to place."""

    size_gb: int
    extra_specs: dict[str, str] = dataclasses.field(default_factory=dict)
    """Of its type."""
    zone: str | None = None
    host: str | None = None
    """Id of the host that must reach it: where its guest is, or its source."""
    near: frozenset[str] | None = None
    """Ids of the hosts of which one must reach it: those that reach its source. None: any."""
    avoid: frozenset[str] = frozenset()
    """Backends that will not do, by id, and single places, by `key`."""
