"""Filters: one predicate each. A filter answers None when the place will do, else why not, with the numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from core.volumes.placement.model import Place, Request

Filter = Callable[[Request, Place], str | None]

_IS: Final = re.compile(r"<is> (true|false)", re.IGNORECASE)

_NOT_CAPABILITIES: Final = frozenset({"volume_backend_name", "multiattach"})


def enabled(_: Request, place: Place) -> str | None:
    if place.enabled:
        return None
    return f"disabled: {place.disabled_reason}" if place.disabled_reason else "disabled"


def another(request: Request, place: Place) -> str | None:
    """Not where it is, or where making it has failed."""
    return "it is there already, or was tried there" if request.avoid & {place.backend_id, place.key} else None


def backend_name(request: Request, place: Place) -> str | None:
    wanted = request.extra_specs.get("volume_backend_name")
    return None if wanted in (None, place.backend) else f"the type wants backend {wanted}"


def capabilities(request: Request, place: Place) -> str | None:
    """Every other extra spec is a capability that the backend has or has not, or `driver`. Those with a scope of their
    own (`qos:…`) are somebody else's, as in cinder."""
    for key, wanted in request.extra_specs.items():
        scope, _, name = key.rpartition(":")
        if name in _NOT_CAPABILITIES or scope not in ("", "capabilities"):
            continue
        if name == "driver":
            if wanted != place.driver:
                return f"its driver is {place.driver}, the type wants {wanted}"
            continue
        asked = _IS.fullmatch(wanted)
        if asked is None:
            return f'the type asks for {name}={wanted}, which is not "<is> True" or "<is> False"'
        if (asked[1].lower() == "true") != (name in place.capabilities):
            return f"the type wants {name} {wanted.removeprefix('<is> ')}"
    return None


def availability_zone(request: Request, place: Place) -> str | None:
    if request.zone is None or not place.zone or request.zone == place.zone:
        return None
    return f"in zone {place.zone}, {request.zone} was asked for"


def reachable(_: Request, place: Place) -> str | None:
    return None if place.reached_by else f"no host reaches it: {place.unreached}"


def host(request: Request, place: Place) -> str | None:
    if request.host is None or request.host in place.reached_by:
        return None
    return "the host that needs it does not reach it"


def source(request: Request, place: Place) -> str | None:
    if request.near is None or request.near & place.reached_by:
        return None
    return "no host reaches both it and what the volume is made from"


def capacity(request: Request, place: Place) -> str | None:
    """cinder's CapacityFilter: what is promised stays within capacity times over-subscription, and what is really
    free, without the reserve, within the same of the new size."""
    if request.size_gb <= place.room_gb:
        return None
    return (
        f"needs {request.size_gb} GiB, may still promise {max(0, int(place.room_gb))} GiB "
        f"(free {place.free_gb} of {place.total_gb} GiB, {place.reserved_gb} reserved, {place.promised_gb} promised)"
    )


FILTERS: dict[str, Filter] = {
    "enabled": enabled,
    "another": another,
    "backend_name": backend_name,
    "reachable": reachable,
    "capabilities": capabilities,
    "availability_zone": availability_zone,
    "host": host,
    "source": source,
    "capacity": capacity,
}
"""In order: the cheap and the telling first. What nobody reaches has told nobody what it can."""


def apply(
    request: Request, places: Iterable[Place]
) -> tuple[list[Place], dict[str, tuple[str, str]], tuple[tuple[str, int], ...]]:
    """(places that will do, {name: (filter, why)} of those that will not, [(filter, left after it)])."""
    left = list(places)
    rejected: dict[str, tuple[str, str]] = {}
    counts: list[tuple[str, int]] = []
    for name, accepts in FILTERS.items():
        why = {place: accepts(request, place) for place in left}
        rejected |= {place.name: (name, because) for place, because in why.items() if because is not None}
        left = [place for place in left if why[place] is None]
        counts.append((name, len(left)))
    return left, rejected, tuple(counts)
