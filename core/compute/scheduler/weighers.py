"""Weighers: how good a host is for a request. Each is min-max normalised over the candidates, then multiplied."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.compute.scheduler.model import HostView, Request

Weigher = Callable[[Request, HostView], float]


def free_ram(_: Request, host: HostView) -> float:
    return host.limit["ram_mb"] - host.used["ram_mb"]


def free_vcpus(_: Request, host: HostView) -> float:
    return host.limit["vcpus"] - host.used["vcpus"]


def free_disk(_: Request, host: HostView) -> float:
    return host.limit["disk_gb"] - host.used["disk_gb"]


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
    totals = [0.0] * len(hosts)
    for weigh, multiplier in (weighers or WEIGHERS).values():
        raw = [weigh(request, host) for host in hosts]
        low, high = min(raw, default=0.0), max(raw, default=0.0)
        if high > low:
            scale = multiplier / (high - low)
            totals = [total + scale * (value - low) for total, value in zip(totals, raw, strict=True)]
    return sorted(zip(hosts, totals, strict=True), key=lambda pair: (-pair[1], pair[0].name))
