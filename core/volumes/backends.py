"""Backends: the places where volumes are kept, as an operator names them. What each host can make of one is looked at
by the hosts themselves (core.hosts.storage)."""

from __future__ import annotations

from typing import Any, Final

from sqlmodel import Session, col

from core import audit, names
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.hosts import hosts as hosts_
from core.hosts.table import Host
from core.identity.policy import authorize
from core.operations import operations
from core.sql import select
from core.store import clock_of, now
from core.volumes.tables import SHARED_DRIVERS, Backend, Volume
from hostd.spec import BACKEND_OPTIONS, BackendSpec

DRIVERS: Final = ("file", "lvm", *SHARED_DRIVERS)


def create(
    session: Session,
    ctx: Context,
    *,
    name: str,
    driver: str,
    options: dict[str, str] | None = None,
    hosts: tuple[str, ...] | None = None,
    availability_zone: str = "",
    max_over_subscription: float = 10.0,
    reserved_percent: int = 5,
    description: str = "",
) -> Backend:
    """A backend that hosts shall reach: those named, or None: all. They look for it at once.

    Raises Invalid, NotFound for a host, Conflict for a name taken.
    """
    authorize(ctx, "backend:manage")
    _name(session, name)
    if driver not in DRIVERS:
        raise Invalid(f"unknown driver {driver!r}", hint=f"One of {', '.join(DRIVERS)}.")
    if availability_zone and driver not in SHARED_DRIVERS:
        raise Invalid(f"a {driver} backend is in the zones of its hosts", hint="Leave the zone out.")
    backend = Backend(
        id=clock_of(session).uuid(),
        name=name,
        driver=driver,
        options=_options(driver, options or {}),
        hosts=_hosts(session, ctx, hosts),
        availability_zone=availability_zone,
        max_over_subscription=_ratio(max_over_subscription),
        reserved_percent=_percent(reserved_percent),
        description=description,
        created_at=now(session),
    )
    session.add(backend)
    session.flush()
    after = {"driver": driver, "options": backend.options, "hosts": backend.hosts}
    audit.record(session, ctx, backend, kind="backend", action="create", after=after)
    _look(session, ctx, backend)
    return backend


def set(
    session: Session,
    ctx: Context,
    id_or_name: str,
    *,
    name: str | None = None,
    enabled: bool | None = None,
    disabled_reason: str | None = None,
    hosts: tuple[str, ...] | None = None,
    all_hosts: bool = False,
    options: dict[str, str] | None = None,
    availability_zone: str | None = None,
    max_over_subscription: float | None = None,
    reserved_percent: int | None = None,
    description: str | None = None,
) -> Backend:
    """Change what is not None; `options` replace all there were. A disabled one takes no new volumes.

    Raises Invalid, NotFound; Conflict for a name taken, and for other options of a backend that holds volumes.
    """
    authorize(ctx, "backend:manage")
    backend = find(session, ctx, id_or_name)
    if name is not None and name != backend.name:
        _name(session, name)
    if options is not None and options != backend.options and _holds(session, backend):
        raise Conflict(
            f"backend {backend.name} holds volumes", hint="Its options say where they are: make another backend."
        )
    values: dict[str, Any] = {
        "name": name,
        "enabled": enabled,
        "disabled_reason": "" if enabled else disabled_reason,
        "options": None if options is None else _options(backend.driver, options),
        "availability_zone": availability_zone,
        "max_over_subscription": None if max_over_subscription is None else _ratio(max_over_subscription),
        "reserved_percent": None if reserved_percent is None else _percent(reserved_percent),
        "description": description,
    }
    given = {field: value for field, value in values.items() if value is not None}
    if hosts is not None or all_hosts:
        given["hosts"] = None if all_hosts else _hosts(session, ctx, hosts)
    changed = audit.change(session, ctx, backend, kind="backend", values=given)
    if changed.keys() & {"hosts", "options"}:
        _look(session, ctx, backend)
    return backend


def delete(session: Session, ctx: Context, id_or_name: str) -> None:
    """Forget a backend; what else is kept there stays there. Raises Conflict while it holds volumes."""
    authorize(ctx, "backend:manage")
    backend = find(session, ctx, id_or_name)
    if count := _holds(session, backend):
        raise Conflict(f"backend {backend.name} holds {count} volumes", hint="Delete or retype them first.")
    if session.execute(select(Volume.id).where(col(Volume.backend_id) == backend.id).limit(1)).first():
        # The record of deleted volumes names it.
        raise Conflict(
            f"backend {backend.name} held volumes, whose record is kept",
            hint=f"skydeck storage backend set --disable {backend.name} keeps new ones away.",
        )
    session.delete(backend)
    session.flush()
    audit.record(session, ctx, backend, kind="backend", action="delete")


def find(session: Session, ctx: Context, id_or_name: str) -> Backend:
    authorize(ctx, "backend:list")
    query = select(Backend).where((col(Backend.id) == id_or_name) | (col(Backend.name) == id_or_name))
    row = session.execute(query).scalars().first()
    if row is None:
        raise NotFound(f"no backend {id_or_name!r}", hint="skydeck storage backend list shows them.")
    return row


def spec_of(backend: Backend) -> BackendSpec:
    """As hosts are told it."""
    return BackendSpec(uuid=backend.id, driver=backend.driver, options=dict(backend.options))


def of_host(session: Session, host_id: str) -> list[Backend]:
    """Those a host shall reach."""
    rows = session.execute(select(Backend).order_by(col(Backend.name))).scalars()
    return [backend for backend in rows if backend.hosts is None or host_id in backend.hosts]


def _look(session: Session, ctx: Context, backend: Backend) -> None:
    """Every host that shall reach it, and is up, looks now."""
    up = session.execute(select(Host.id).where(col(Host.state) == "up").order_by(col(Host.name))).scalars()
    for host_id in up:
        if backend.hosts is None or host_id in backend.hosts:
            operations.enqueue(
                session,
                ctx,
                "backend.look",
                object_kind="backend",
                object_id=f"{backend.id}@{host_id}",
                object_name=backend.name,
                project_id=ctx.project_id,
                lane=host_id,
            )


def _holds(session: Session, backend: Backend) -> int:
    query = select(Volume.id).where(col(Volume.backend_id) == backend.id, col(Volume.deleted_at) == 0)
    return len(session.execute(query).all())


def _name(session: Session, name: str) -> None:
    names.check(name, "backend")
    if session.execute(select(Backend.id).where(col(Backend.name) == name)).first():
        raise Conflict(f"a backend named {name!r} exists", hint="Choose another name.")


def _options(driver: str, options: dict[str, str]) -> dict[str, str]:
    for key, value in options.items():
        if key not in BACKEND_OPTIONS[driver]:
            known = ", ".join(sorted(BACKEND_OPTIONS[driver]))
            raise Invalid(f"{key[:40]!r} is no option of {driver}", hint=f"One of {known}.")
        if len(value) > names.LONGEST or not value.isprintable():
            raise Invalid(f"option {key} holds unprintable characters, or more than {names.LONGEST}")
    return dict(sorted(options.items()))


def _hosts(session: Session, ctx: Context, wanted: tuple[str, ...] | None) -> list[str] | None:
    return None if wanted is None else sorted(hosts_.find(session, ctx, one).id for one in wanted)


def _ratio(ratio: float) -> float:
    if not 1 <= ratio <= 1000:
        raise Invalid(f"{ratio} is no over-subscription", hint="At least 1.0: what it holds is promised once.")
    return ratio


def _percent(percent: int) -> int:
    if not 0 <= percent < 100:
        raise Invalid(f"{percent} % cannot be reserved", hint="0 to 99.")
    return percent
