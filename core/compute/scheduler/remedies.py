"""The smallest change that would fit: what a refused request, a flavor or one host would have to be like. Pure.

Every single change is tried against the filters themselves, so that what is said to fit would fit: a filter left out, a
smaller flavor, resources freed on one host. They are ordered by what they cost whoever asked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from core.compute.scheduler.filters import FILTERS
from core.compute.scheduler.model import NEEDS, HostView, Request


class Means(StrEnum):
    """What is changed."""

    NOTHING = "nothing"
    """It fits now."""
    REQUEST = "request"
    FLAVOR = "flavor"
    HOST = "host"
    FREE = "free"
    """Resources of a host are given back."""


class Size(NamedTuple):
    """A flavor, as far as placing goes."""

    name: str
    vcpus: int
    ram_mb: int
    disk_gb: int

    @property
    def needs(self) -> dict[str, int]:
        return {"vcpus": self.vcpus, "ram_mb": self.ram_mb, "disk_gb": self.disk_gb}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remedy:
    """One change after which a host would take the instance."""

    means: Means
    what: str
    """For a person: `flavor m1.small (1 vCPU, 2048 MiB RAM, 20 GiB disk)`."""
    host: str
    """The host that would take it."""
    act: str
    """How it is done."""
    cost: float
    """Smaller is less to ask: orders remedies, and means nothing else."""
    short: dict[str, int] = dataclasses.field(default_factory=dict)
    """Of FREE: what is lacking there, per resource."""


_RESOURCES: Final = {
    "vcpus": ("vcpus", "vCPUs", ""),
    "ram": ("ram_mb", "RAM", " MiB"),
    "disk": ("disk_gb", "disk", " GiB"),
}
"""Filter to (resource, words, unit)."""


def _host_of(request: Request, host: HostView) -> tuple[str, str]:
    return f"another host than {request.host}", "Launch it without naming a host."


def _zone(request: Request, host: HostView) -> tuple[str, str]:
    return f"zone {host.zone} instead of {request.zone}", f"Launch it with --availability-zone {host.zone}."


def _specs(request: Request, host: HostView) -> tuple[str, str]:
    asked = [key.rpartition(":")[2] for key in request.extra_specs if key.startswith("aggregate_instance_extra_specs:")]
    return (
        f"a flavor that does not ask for an aggregate with {', '.join(asked)}",
        f"Take another flavor, or add {host.name} to such an aggregate.",
    )


def _hint(name: str) -> Callable[[Request, HostView], tuple[str, str]]:
    return lambda request, host: (f"no hint {name}", f"Launch it without the hint {name}.")


def _enable(request: Request, host: HostView) -> tuple[str, str]:
    because = f", which was disabled: {host.disabled_reason}" if host.disabled_reason else ""
    return f"host {host.name} enabled{because}", f"skydeck host set --enable {host.name}"


def _bring_back(request: Request, host: HostView) -> tuple[str, str]:
    return f"host {host.name} up again: {host.down_reason}", f"Look at it: skydeck host show {host.name}"


def _kept(request: Request, host: HostView) -> tuple[str, str]:
    return (
        f"host {host.name} no longer kept for other projects",
        "An admin takes filter_tenant_id off its aggregate: skydeck aggregate unset.",
    )


def _fewer(request: Request, host: HostView) -> tuple[str, str]:
    return f"one instance less on {host.name}, which holds {host.instances}", f"Delete one on {host.name}."


def _volumes(request: Request, host: HostView) -> tuple[str, str]:
    lacking = ", ".join(volume.words for volume in request.volumes if host.id not in volume.hosts)
    return f"without {lacking}", f"Launch it without them, or let {host.name} reach them: skydeck storage host list"


RELAXED: Final[dict[str, tuple[Means, float, Callable[[Request, HostView], tuple[str, str]]]]] = {
    "forced_host": (Means.REQUEST, 1.0, _host_of),
    "same_host": (Means.REQUEST, 1.1, _hint("same_host")),
    "different_host": (Means.REQUEST, 1.2, _hint("different_host")),
    "availability_zone": (Means.REQUEST, 1.3, _zone),
    "aggregate_extra_specs": (Means.REQUEST, 2.0, _specs),
    "enabled": (Means.HOST, 2.5, _enable),
    "volumes_reachable": (Means.REQUEST, 3.2, _volumes),
    "num_instances": (Means.HOST, 3.4, _fewer),
    "tenant_isolation": (Means.HOST, 3.6, _kept),
    "up": (Means.HOST, 4.0, _bring_back),
}
"""Filter to (what gives way, its cost, (request, host) to what it would be like and how that is done). Filters that are
not named here cannot be given up: an image for another architecture does not run."""


def remedies(request: Request, hosts: Iterable[HostView], sizes: Iterable[Size]) -> list[Remedy]:
    """Every single change after which some host would take the request, the smallest first; one for each filter that
    gives way, one flavor, one host to free. Empty when no single change does it.

    `sizes` are the flavors the caller may use that the image fits on.
    """
    looked = [(host, against(request, host)) for host in hosts]
    fits = [host for host, why in looked if not why]
    if fits:
        best = max(fits, key=lambda host: (host.free("ram_mb"), host.name))
        return [
            Remedy(
                means=Means.NOTHING,
                what=f"it fits now, on {best.name}",
                host=best.name,
                act="Launch it again.",
                cost=0.0,
            )
        ]
    found = [
        *_relaxed(request, looked),
        *_smaller(request, [host for host, _ in looked], sizes),
        *_freed(request, looked),
    ]
    return sorted(found, key=lambda remedy: (remedy.cost, remedy.host))


def against(request: Request, host: HostView) -> dict[str, str]:
    """Every filter that turns the host away, with its reason; a funnel names only the first."""
    reasons = ((name, accepts(request, host)) for name, accepts in FILTERS.items())
    return {name: why for name, why in reasons if why is not None}


def nearest(request: Request, hosts: Iterable[HostView]) -> tuple[str, dict[str, str]] | None:
    """The host with the fewest obstacles, and which they are: what to look at when no single change does it."""
    looked = [(host.name, against(request, host)) for host in hosts]
    return min(looked, key=lambda pair: (len(pair[1]), pair[0]), default=None)


def _relaxed(request: Request, looked: Sequence[tuple[HostView, dict[str, str]]]) -> list[Remedy]:
    found: dict[str, Remedy] = {}
    for host, why in looked:
        if len(why) != 1 or (name := next(iter(why))) not in RELAXED or name in found:
            continue
        means, cost, words = RELAXED[name]
        what, act = words(request, host)
        found[name] = Remedy(means=means, what=what, host=host.name, act=act, cost=cost)
    return list(found.values())


def _smaller(request: Request, hosts: Sequence[HostView], sizes: Iterable[Size]) -> list[Remedy]:
    """The largest flavor that is smaller in something, larger in nothing, and fits somewhere."""
    asked = request.needs
    smaller = [size for size in sizes if size.needs != asked and all(size.needs[key] <= asked[key] for key in NEEDS)]
    for size in sorted(smaller, key=lambda size: _loss(asked, size.needs)):
        wanted = dataclasses.replace(request, vcpus=size.vcpus, ram_mb=size.ram_mb, disk_gb=size.disk_gb)
        fits = [host for host in hosts if not against(wanted, host)]
        if fits:
            best = max(fits, key=lambda host: (host.free("ram_mb"), host.name))
            return [
                Remedy(
                    means=Means.FLAVOR,
                    what=f"flavor {size.name} ({_listed(size.needs)})",
                    host=best.name,
                    act=f"Launch it with flavor {size.name}.",
                    cost=1.5 + _loss(asked, size.needs),
                )
            ]
    return []


def _freed(request: Request, looked: Sequence[tuple[HostView, dict[str, str]]]) -> list[Remedy]:
    """The host that lacks least, where nothing but resources is in the way."""
    best: Remedy | None = None
    for host, why in looked:
        if not why.keys() <= _RESOURCES.keys():
            continue
        short = {
            _RESOURCES[name][0]: request.needs[_RESOURCES[name][0]] - host.free(_RESOURCES[name][0]) for name in why
        }
        if any(request.needs[key] > host.limit[key] for key in short):
            continue  # not even empty
        cost = 2.2 + sum(amount / max(1, host.limit[key]) for key, amount in short.items())
        if best is None or cost < best.cost:
            what = f"{_listed(short)} more free on {host.name}"
            act = f"Delete or resize something on {host.name}."
            best = Remedy(means=Means.FREE, what=what, host=host.name, act=act, cost=cost, short=short)
    return [best] if best else []


def _loss(asked: dict[str, int], given: dict[str, int]) -> float:
    """How much less than asked, 0 to 1, averaged over the resources."""
    return sum((asked[key] - given[key]) / asked[key] for key in NEEDS if asked[key]) / len(NEEDS)


def _listed(amounts: dict[str, int]) -> str:
    """`1 vCPU, 2048 MiB RAM, 20 GiB disk`."""
    units = {"vcpus": "vCPUs", "ram_mb": "MiB RAM", "disk_gb": "GiB disk"}
    words = [f"{amount} {units[key]}" for key, amount in amounts.items() if amount]
    return ", ".join("1 vCPU" if word == "1 vCPUs" else word for word in words)
