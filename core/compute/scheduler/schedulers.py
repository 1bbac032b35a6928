"""The schedulers that ship: `filter` (filters, then weighers), `simple` (most free RAM), `chance` (random)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from core.compute.scheduler import filters, weighers
from core.compute.scheduler.model import Funnel, HostView, Request

Scheduler = Callable[[Request, Sequence[HostView], random.Random], tuple[list[HostView], Funnel]]
"""(request, hosts, randomness) to (candidates, best first; what became of every host)."""


def _funnel(
    request: Request,
    hosts: Sequence[HostView],
    order: Callable[[list[HostView]], list[tuple[HostView, float]]],
) -> tuple[list[HostView], Funnel]:
    left, rejected, counts = filters.apply(request, hosts)
    ranked = order(left)
    funnel = Funnel(
        rejected=rejected,
        ranked=tuple((host.name, weight) for host, weight in ranked[:20]),
        counts=counts,
        total=len(hosts),
    )
    return [host for host, _ in ranked], funnel


def filter_scheduler(request: Request, hosts: Sequence[HostView], _: random.Random) -> tuple[list[HostView], Funnel]:
    return _funnel(request, hosts, lambda left: weighers.rank(request, left))


def simple(request: Request, hosts: Sequence[HostView], _: random.Random) -> tuple[list[HostView], Funnel]:
    def most_free(left: list[HostView]) -> list[tuple[HostView, float]]:
        return weighers.rank(request, left, {"free_ram": (weighers.free_ram, 1.0)})

    return _funnel(request, hosts, most_free)


def chance(request: Request, hosts: Sequence[HostView], dice: random.Random) -> tuple[list[HostView], Funnel]:
    def shuffled(left: list[HostView]) -> list[tuple[HostView, float]]:
        return [(host, 0.0) for host in dice.sample(left, len(left))]

    return _funnel(request, hosts, shuffled)


SCHEDULERS: dict[str, Scheduler] = {"filter": filter_scheduler, "simple": simple, "chance": chance}
