"""Filters: one predicate each. A filter answers None when the host passes, else why not, with the numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable

from core.compute.scheduler.model import HostView, Request

Filter = Callable[[Request, HostView], str | None]

MAX_INSTANCES = 50
"""nova's max_instances_per_host, unless an aggregate says otherwise."""


def enabled(_: Request, host: HostView) -> str | None:
    if host.enabled:
        return None
    return f"disabled: {host.disabled_reason}" if host.disabled_reason else "disabled"


def up(_: Request, host: HostView) -> str | None:
    return None if host.up else f"down: {host.down_reason}"


def untried(request: Request, host: HostView) -> str | None:
    return "already tried for this instance" if host.id in request.avoid else None


def forced_host(request: Request, host: HostView) -> str | None:
    if request.host is None or request.host in (host.name, host.id):
        return None
    return f"{request.host} was asked for"


def availability_zone(request: Request, host: HostView) -> str | None:
    if request.zone is None or request.zone == host.zone:
        return None
    return f"in zone {host.zone}, {request.zone} was asked for"


def architecture(request: Request, host: HostView) -> str | None:
    if request.arch is None or request.arch == host.arch:
        return None
    return f"is {host.arch}, the image wants {request.arch}"


def aggregate_extra_specs(request: Request, host: HostView) -> str | None:
    """Every `aggregate_instance_extra_specs:KEY` of the flavor must be met by some aggregate of the host."""
    for key, wanted in request.extra_specs.items():
        scope, _, name = key.rpartition(":")
        if scope != "aggregate_instance_extra_specs":
            continue
        have = {metadata[name] for metadata in host.aggregates if name in metadata}
        if wanted not in have:
            return f"no aggregate has {name}={wanted} (has {', '.join(sorted(have)) or 'none'})"
    return None


def tenant_isolation(request: Request, host: HostView) -> str | None:
    """Aggregates with filter_tenant_id keep their hosts for those projects."""
    kept = {
        tenant.strip()
        for metadata in host.aggregates
        for key, value in metadata.items()
        if key.startswith("filter_tenant_id")
        for tenant in value.split(",")
    }
    return f"kept for {len(kept)} other projects" if kept and request.project_id not in kept else None


def same_host(request: Request, host: HostView) -> str | None:
    return None if request.same_host <= host.project_instances else "does not hold the instances to be with"


def different_host(request: Request, host: HostView) -> str | None:
    together = request.different_host & host.project_instances
    return f"holds {len(together)} of the instances to be apart from" if together else None


def volumes_reachable(request: Request, host: HostView) -> str | None:
    lacking = [volume.words for volume in request.volumes if host.id not in volume.hosts]
    if not lacking:
        return None
    have = len(request.volumes) - len(lacking)
    return f"reaches {have} of {len(request.volumes)} volumes, not {', '.join(lacking)}"


def num_instances(_: Request, host: HostView) -> str | None:
    most = min(
        (int(m["max_instances_per_host"]) for m in host.aggregates if m.get("max_instances_per_host", "").isdigit()),
        default=MAX_INSTANCES,
    )
    return f"holds {host.instances} of at most {most} instances" if host.instances >= most else None


def _fits(resource: str, words: str, unit: str) -> Filter:
    wanted = operator.attrgetter(resource)

    def fits(request: Request, host: HostView) -> str | None:
        need = wanted(request)
        free = host.limit[resource] - host.used[resource]
        if need <= free:
            return None
        return f"{words}: needs {need}{unit}, free {max(0, free)}{unit} of {host.limit[resource]}{unit}"

    return fits


FILTERS: dict[str, Filter] = {
    "enabled": enabled,
    "up": up,
    "untried": untried,
    "forced_host": forced_host,
    "availability_zone": availability_zone,
    "architecture": architecture,
    "aggregate_extra_specs": aggregate_extra_specs,
    "tenant_isolation": tenant_isolation,
    "same_host": same_host,
    "different_host": different_host,
    "volumes_reachable": volumes_reachable,
    "num_instances": num_instances,
    "vcpus": _fits("vcpus", "vCPUs", ""),
    "ram": _fits("ram_mb", "RAM", " MiB"),
    "disk": _fits("disk_gb", "disk", " GiB"),
}
"""In order: the cheap and the telling first."""

_ASKED: dict[str, Callable[[Request], bool]] = {
    "untried": lambda request: bool(request.avoid),
    "forced_host": lambda request: request.host is not None,
    "availability_zone": lambda request: request.zone is not None,
    "architecture": lambda request: request.arch is not None,
    "aggregate_extra_specs": lambda request: bool(request.extra_specs),
    "same_host": lambda request: bool(request.same_host),
    "different_host": lambda request: bool(request.different_host),
    "volumes_reachable": lambda request: bool(request.volumes),
}
"""Filters that pass every host unless the request asks for something: then nobody need be asked."""


def apply(
    request: Request, hosts: Iterable[HostView], filters: dict[str, Filter] | None = None
) -> tuple[list[HostView], dict[str, tuple[str, str]], tuple[tuple[str, int], ...]]:
    """(hosts that pass, {name: (filter, why)} of those that do not, [(filter, left after it)])."""
    left = list(hosts)
    rejected: dict[str, tuple[str, str]] = {}
    counts: list[tuple[str, int]] = []
    for name, accepts in (filters or FILTERS).items():
        asked = _ASKED.get(name)
        if asked is None or asked(request):
            kept = []
            for host in left:
                why = accepts(request, host)
                if why is None:
                    kept.append(host)
                else:
                    rejected[host.name] = (name, why)
            left = kept
        counts.append((name, len(left)))
    return left, rejected, tuple(counts)
