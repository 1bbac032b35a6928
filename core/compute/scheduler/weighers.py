"""Weighers: how good a host is for a request. Each is min-max normalised over the candidates, then multiplied."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.compute.scheduler.model import HostView, Request

Weigher = Callable[[Request, HostView], float]


def free_ram(_: Request, host: HostView) -> float:
    return host.free("ram_mb")


def free_vcpus(_: Request, host: HostView) -> float:
    return host.free("vcpus")


def free_disk(_: Request, host: HostView) -> float:
    return host.free("disk_gb")


def running_operations(_: Request, host: HostView) -> float:
    return host.operations


def failed_builds(_: Request, host: HostView) -> float:
    return host.failed_builds


WEIGHERS: dict[str, tuple[Weigher, float]] = {
    "free_ram": (free_ram, 1.0),
    "free_vcpus": (free_vcpus, 1.0),
    "free_disk": (free_disk, 1.0),
    "running_operations": (running_operations, -1.0),
    "failed_builds": (failed_builds, -1_000_000.0),
}
"""Name to (weigher, multiplier). A host that just failed builds is last (nova's BuildFailureWeigher)."""


def rank(
    request: Request,
    hosts: Sequence[HostView],
    weighers: dict[str, tuple[Weigher, float]] | None = None,
) -> list[tuple[HostView, float]]:
    """Best first; equal weights keep the order of names, so that a choice can be repeated."""
    totals = dict.fromkeys((host.id for host in hosts), 0.0)
    for weigh, multiplier in (weighers or WEIGHERS).values():
        raw = {host.id: weigh(request, host) for host in hosts}
        low, high = min(raw.values(), default=0.0), max(raw.values(), default=0.0)
        if high > low:
            for host_id, value in raw.items():
                totals[host_id] += multiplier * (value - low) / (high - low)
    return sorted(((host, totals[host.id]) for host in hosts), key=lambda pair: (-pair[1], pair[0].name))
