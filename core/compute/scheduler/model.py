"""What the scheduler sees: one request and a snapshot of every host, as plain values."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

NEEDS = ("vcpus", "ram_mb", "disk_gb")


class HostView(NamedTuple):
    """A host at the moment of choosing. `used` grows as a multi-create places one instance after another.

    A tuple, because hundreds are made for every create.
    """

    id: str
    name: str
    enabled: bool
    disabled_reason: str
    up: bool
    down_reason: str
    zone: str
    arch: str
    limit: dict[str, int]
    """(total - reserved) x ratio, per resource."""
    used: dict[str, int]
    instances: int
    project_instances: frozenset[str]
    """Uuids of the asking project's instances here, for affinity hints."""
    operations: int
    """Running operations: a busy host waits longer."""
    failed_builds: int
    aggregates: tuple[dict[str, str], ...]
    """Metadata of each aggregate the host is in."""

    def free(self, resource: str) -> int:
        return self.limit[resource] - self.used[resource]


class VolumeNeed(NamedTuple):
    """A volume that an instance shall have, and who could give it."""

    words: str
    """What it is and where, for a person."""
    hosts: frozenset[str]
    """Ids of the hosts that reach it, or a place where it can be made."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One instance to place."""

    project_id: str
    vcpus: int
    ram_mb: int
    disk_gb: int
    zone: str | None = None
    host: str | None = None
    """Forced host, by name or id; only an admin's request carries one."""
    arch: str | None = None
    """The image's architecture property."""
    extra_specs: dict[str, str] = dataclasses.field(default_factory=dict)
    same_host: frozenset[str] = frozenset()
    """Instances whose host it must share (hint same_host)."""
    different_host: frozenset[str] = frozenset()
    avoid: frozenset[str] = frozenset()
    """Host ids already tried for this instance."""
    volumes: tuple[VolumeNeed, ...] = ()

    @property
    def needs(self) -> dict[str, int]:
        return {"vcpus": self.vcpus, "ram_mb": self.ram_mb, "disk_gb": self.disk_gb}

    def to_json(self) -> dict[str, Any]:
        """As kept with a refusal, so that it can be asked again what would fit; `from_json` reads it."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain |= {key: sorted(value) for key, value in plain.items() if isinstance(value, frozenset)}
        return {**plain, "volumes": [[volume.words, sorted(volume.hosts)] for volume in self.volumes]}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Request:
        groups = {key: frozenset(plain[key]) for key in ("same_host", "different_host", "avoid")}
        volumes = tuple(VolumeNeed(words, frozenset(hosts)) for words, hosts in plain["volumes"])
        return cls(**{**plain, **groups, "volumes": volumes})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """What became of every host: the answer to "why not there?", with the numbers."""

    rejected: dict[str, tuple[str, str]]
    """Host name to (the filter that turned it away, why)."""
    ranked: tuple[tuple[str, float], ...]
    """(host name, weight) of those that passed, best first."""
    counts: tuple[tuple[str, int], ...]
    """(filter, hosts left after it), in order."""
    total: int

    def to_json(self) -> dict[str, Any]:
        """{total, counts: [[filter, left]…], rejected: {host: {filter, why}}, ranked: [[host, weight]…]}."""
        return {
            "total": self.total,
            "counts": [list(pair) for pair in self.counts],
            "rejected": {host: {"filter": by, "why": why} for host, (by, why) in self.rejected.items()},
            "ranked": [[host, round(weight, 3)] for host, weight in self.ranked],
        }

    def summary(self) -> str:
        """One line: what stopped most hosts."""
        if not self.total:
            return "there is no host"
        tally: dict[str, int] = {}
        for by, _ in self.rejected.values():
            tally[by] = tally.get(by, 0) + 1
        parts = [f"{count} by {by}" for by, count in sorted(tally.items(), key=lambda item: -item[1])]
        return f"{self.total} host{'s' if self.total != 1 else ''}, filtered: {', '.join(parts)}"
