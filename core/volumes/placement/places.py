"""From the database to the filters and back: every place as its hosts saw it last, with what is promised there now.

Inside the verb's write transaction, so that no two volumes are promised the same room.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col

from core.compute.scheduler.model import Funnel
from core.config import Config
from core.errors import NoValidHost
from core.hosts.table import Host
from core.sql import select
from core.volumes.placement import filters, weighers
from core.volumes.placement.model import GIB, Place, Request
from core.volumes.tables import Backend, BackendHost, Volume


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What one host sees of one backend: rows of _HOSTS and _SEEN."""

    host: Any
    seen: Any | None

    @property
    def problem(self) -> str:
        """Why it does not reach it; empty when it does."""
        if self.host.state != "up":
            return f"host {self.host.name} is down"
        if self.seen is None:
            return f"host {self.host.name} has not looked for it yet"
        return "" if self.seen.reachable else (self.seen.detail or f"host {self.host.name} does not reach it")


_HOSTS = select(Host.id, Host.name, Host.state, Host.availability_zone, Host.enabled, Host.disabled_reason).order_by(
    col(Host.name)
)

_SEEN = select(
    BackendHost.backend_id,
    BackendHost.host_id,
    BackendHost.reachable,
    BackendHost.detail,
    BackendHost.total_bytes,
    BackendHost.free_bytes,
    BackendHost.capabilities,
    BackendHost.seen_at,
)
"""Columns, not objects, and without what is kept there: this is read for every create."""


def look(session: Session) -> list[Place]:
    """Every place there is."""
    hosts = session.execute(_HOSTS).all()
    rows = {(row.backend_id, row.host_id): row for row in session.execute(_SEEN)}
    promised: dict[tuple[str, str | None], int] = defaultdict(int)
    sums = select(Volume.backend_id, Volume.host_id, func.sum(Volume.size_gb)).where(col(Volume.deleted_at) == 0)
    for backend_id, host_id, size in session.execute(sums.group_by(col(Volume.backend_id), col(Volume.host_id))):
        promised[backend_id, host_id] += int(size)
    found: list[Place] = []
    for backend in session.execute(select(Backend).order_by(col(Backend.name))).scalars():
        seen = [
            _Seen(host, rows.get((backend.id, host.id)))
            for host in hosts
            if backend.hosts is None or host.id in backend.hosts
        ]
        if backend.shared:
            found.append(_place(backend, None, seen, promised[backend.id, None]))
        else:
            found += [_place(backend, one.host, [one], promised[backend.id, one.host.id]) for one in seen]
    return found


def place(session: Session, _: Config, request: Request) -> tuple[Backend, str | None, Funnel]:
    """(backend, the host that holds it or None where it is shared, what became of every place). Raises NoValidHost with
    the funnel."""
    places = look(session)
    left, rejected, counts = filters.apply(request, places)
    ranked = weighers.rank(left)
    funnel = Funnel(
        rejected=rejected,
        ranked=tuple((one.name, weight) for one, weight in ranked[:20]),
        counts=counts,
        total=len(places),
    )
    if not ranked:
        raise _no_valid_place(funnel)
    best = ranked[0][0]
    return session.get_one(Backend, best.backend_id), best.host_id, funnel


def zone_of(session: Session, backend: Backend, host_id: str | None) -> str:
    """The availability zone of what is kept there; empty where a shared backend has none."""
    return backend.availability_zone if host_id is None else session.get_one(Host, host_id).availability_zone


def _place(backend: Backend, host: Any | None, seen: list[_Seen], promised_gb: int) -> Place:
    """Numbers are those of the host that looked last: a shared backend is one pool, whoever looks."""
    reaching = [one.seen for one in seen if one.seen is not None and not one.problem]
    # What a disabled host holds alone takes nothing new either: it may be about to go.
    disabled = [one for one in (backend, host) if one is not None and not one.enabled]
    able = [frozenset(row.capabilities) for row in reaching]
    # Hosts that only open what another keeps (initiators of iSCSI) know of no room.
    newest: Any = max(reaching, key=lambda row: (row.total_bytes > 0, row.seen_at), default=None)
    return Place(
        backend_id=backend.id,
        backend=backend.name,
        driver=backend.driver,
        host_id=None if host is None else host.id,
        host="" if host is None else host.name,
        enabled=not disabled,
        disabled_reason=disabled[0].disabled_reason if disabled else "",
        zone=host.availability_zone if host is not None else backend.availability_zone,
        reached_by=frozenset(row.host_id for row in reaching),
        unreached=next((one.problem for one in seen if one.problem), "there is no host"),
        capabilities=frozenset.intersection(*able) if able else frozenset(),
        total_gb=newest.total_bytes // GIB if newest else 0,
        free_gb=newest.free_bytes // GIB if newest else 0,
        promised_gb=promised_gb,
        ratio=backend.max_over_subscription,
        reserved_percent=backend.reserved_percent,
    )


def _no_valid_place(funnel: Funnel) -> NoValidHost:
    if not funnel.total:
        hint = "A host keeps volumes once it is added: skydeck host add ADDRESS."
        return NoValidHost("no backend can keep the volume: there is none", hint=hint, funnel=funnel.to_json())
    tally: dict[str, int] = defaultdict(int)
    for by, _ in funnel.rejected.values():
        tally[by] += 1
    filtered = ", ".join(f"{count} by {by}" for by, count in sorted(tally.items(), key=lambda pair: -pair[1]))
    name, (_, why) = next(iter(funnel.rejected.items()))
    return NoValidHost(
        f"no backend can keep the volume: {funnel.total} looked at, filtered: {filtered}",
        hint=f"For example {name}: {why}.",
        funnel=funnel.to_json(),
    )
