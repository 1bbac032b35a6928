"""Hosts: placing claims on them, enrolling, changing and removing them."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

from sqlalchemy import delete, func, update
from sqlmodel import Session, col

from core import events
from core.config import Config
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.hosts.table import RESOURCES, Claim, Host
from core.identity.policy import authorize
from core.network import fabric
from core.sql import select
from core.store import now
from core.volumes.tables import BackendHost, CachedImageRow, Volume

__all__ = ("RESOURCES", "Claim", "Host", "claim", "enroll", "find", "release", "remove", "update_host")

_PHYSNET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_INTERFACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,14}")
"""A Linux interface's name, 15 characters at most."""


def claim(session: Session, *, id: str, host_id: str, instance_id: str, needs: dict[str, int]) -> bool:
    """Take resources of a host for an instance, if they fit: one compare-and-set UPDATE. Answers whether they did."""
    taken = session.execute(
        update(Host)
        .where(
            col(Host.id) == host_id,
            *(col(getattr(Host, f"{r}_used")) + needs[r] <= col(getattr(Host, f"{r}_cap")) for r in RESOURCES),
        )
        .values({f"{r}_used": col(getattr(Host, f"{r}_used")) + needs[r] for r in RESOURCES})
        .execution_options(synchronize_session=False)
    )
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        return False
    session.add(Claim(id=id, host_id=host_id, instance_id=instance_id, **needs))
    session.flush()
    return True


def release(session: Session, *, instance_id: str, host_id: str | None = None) -> None:
    """Give back an instance's claims, all or those on one host. Nothing to give back is fine."""
    query = select(Claim).where(col(Claim.instance_id) == instance_id)
    if host_id is not None:
        query = query.where(col(Claim.host_id) == host_id)
    for row in session.execute(query).scalars().all():
        session.execute(
            update(Host)
            .where(col(Host.id) == row.host_id)
            .values({f"{r}_used": col(getattr(Host, f"{r}_used")) - getattr(row, r) for r in RESOURCES})
            .execution_options(synchronize_session=False)
        )
        session.delete(row)
    session.flush()
    # A host that shrank gets its true limit back as claims go.
    for host in session.execute(select(Host).execution_options(populate_existing=True)).scalars():
        if any(getattr(host, f"{r}_cap") > host.limit(r) for r in RESOURCES):
            host.refresh_caps()


def find(session: Session, ctx: Context, id_or_name: str) -> Host:
    """Raises NotFound."""
    authorize(ctx, "host:list")
    row = (
        session.execute(select(Host).where((col(Host.id) == id_or_name) | (col(Host.name) == id_or_name)))
        .scalars()
        .first()
    )
    if row is None:
        raise NotFound(f"no host {id_or_name!r}", hint="skydeck host list shows them.")
    return row


def went_down(session: Session, ctx: Context, *, within: int, limit: int) -> tuple[tuple[str, str], ...]:
    """(name, why) of hosts that are down and were seen in the last `within` microseconds, by name. Raises Forbidden."""
    authorize(ctx, "host:list")
    recent = select(Host.name, Host.state_reason).where(
        col(Host.state) == "down", col(Host.seen_at) > now(session) - within
    )
    return tuple((name, why) for name, why in session.execute(recent.order_by(col(Host.name)).limit(limit)))


def enroll(
    session: Session,
    ctx: Context,
    config: Config,
    *,
    id: str,
    name: str,
    address: str,
    port: int,
    ssh_user: str,
    host_key: str,
    socket: str,
    availability_zone: str,
) -> Host:
    """Take a prepared host in, or repair the row of one already known by its uuid. Raises Conflict for a name taken."""
    authorize(ctx, "host:manage")
    taken = session.execute(select(Host.id).where(col(Host.name) == name, col(Host.id) != id)).first()
    if taken:
        raise Conflict(f"a host named {name!r} exists", hint="Give this one another with --name.")
    host = session.get(Host, id)
    known = host is not None
    if host is None:
        host = Host(
            id=id,
            name=name,
            address=address,
            created_at=now(session),
            cpu_ratio=config.cpu_allocation_ratio,
            ram_ratio=config.ram_allocation_ratio,
            disk_ratio=config.disk_allocation_ratio,
            ram_reserved_mb=config.reserved_host_memory_mb,
            disk_reserved_gb=config.reserved_host_disk_gb,
        )
        session.add(host)
    moved = known and host.address != address
    host.name, host.address, host.port, host.ssh_user = name, address, port, ssh_user
    host.host_key, host.socket, host.availability_zone = host_key, socket, availability_zone
    session.flush()
    if moved:
        fabric.touch_host(session, host.id)  # its tunnel endpoint follows its address
    session.info["enqueued"] = True  # the engine connects to it
    events.record(
        session,
        ctx,
        "host.repair" if known else "host.add",
        kind="host",
        id=id,
        name=name,
        after={"address": address or "local", "availability_zone": availability_zone},
    )
    return host


def update_host(
    session: Session,
    ctx: Context,
    id_or_name: str,
    *,
    enabled: bool | None = None,
    disabled_reason: str | None = None,
    name: str | None = None,
    availability_zone: str | None = None,
    ratios: dict[str, float] | None = None,
    reserved: dict[str, int] | None = None,
    vtep: str | None = None,
    physnets: dict[str, str] | None = None,
) -> Host:
    """Change what an operator decides about a host. `ratios` keys: cpu, ram, disk; `reserved`: ram_mb, disk_gb.

    `vtep` is its tunnel endpoint, empty for its SSH address; `physnets`, physical network to interface or bridge,
    replaces all there were. Raises Invalid, Conflict, NotFound.
    """
    authorize(ctx, "host:manage")
    host = find(session, ctx, id_or_name)
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}

    def put(field: str, value: Any) -> None:
        before[field], after[field] = getattr(host, field), value
        setattr(host, field, value)

    if enabled is not None:
        put("enabled", enabled)
        put("disabled_reason", "" if enabled else (disabled_reason or ""))
    if name is not None:
        if session.execute(select(Host.id).where(col(Host.name) == name, col(Host.id) != host.id)).first():
            raise Conflict(f"a host named {name!r} exists", hint="Choose another name.")
        put("name", name)
    if availability_zone is not None:
        put("availability_zone", availability_zone)
    for key, ratio in (ratios or {}).items():
        if not 0 < ratio <= 64:
            raise Invalid(f"a {key} ratio cannot be {ratio}", hint="Between 0 and 64; 1.0 means no overcommitment.")
        put(f"{key}_ratio", ratio)
    for key, amount in (reserved or {}).items():
        if amount < 0:
            raise Invalid(f"reserved {key} cannot be {amount}")
        put({"ram_mb": "ram_reserved_mb", "disk_gb": "disk_reserved_gb"}[key], amount)
    if vtep is not None:
        put("vtep", _vtep(session, host, vtep))
    if physnets is not None:
        put("physnets", _physnets(physnets))
    host.refresh_caps()
    if vtep is not None or physnets is not None:
        session.flush()
        fabric.touch_host(session, host.id)
    events.record(session, ctx, "host.set", kind="host", id=host.id, name=host.name, before=before, after=after)
    return host


def remove(session: Session, ctx: Context, id_or_name: str) -> Host:
    """Forget a host that holds no instance and no volume. Raises Conflict naming how many it holds."""
    authorize(ctx, "host:manage")
    host = find(session, ctx, id_or_name)
    check_empty(session, host)
    session.execute(delete(BackendHost).where(col(BackendHost.host_id) == host.id))
    session.execute(delete(CachedImageRow).where(col(CachedImageRow.host_id) == host.id))
    session.delete(host)
    session.flush()
    fabric.forget(session, host.id)
    session.info["enqueued"] = True
    events.record(session, ctx, "host.remove", kind="host", id=host.id, name=host.name)
    return host


def check_empty(session: Session, host: Host) -> None:
    """Raises Conflict naming how many instances or volumes a host holds."""
    held = session.execute(select(func.count()).where(col(Claim.host_id) == host.id)).scalar_one()
    if held:
        raise Conflict(f"host {host.name} holds {held} instances", hint="Delete or move them first.")
    kept = select(func.count()).select_from(Volume).where(col(Volume.host_id) == host.id, col(Volume.deleted_at) == 0)
    if count := session.execute(kept).scalar_one():
        raise Conflict(f"host {host.name} keeps {count} volumes", hint="Delete or retype them first.")


def _vtep(session: Session, host: Host, text: str) -> str:
    """Raises Invalid for what is no address of one host's own, Conflict for another host's."""
    if not text:
        return ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as bad:
        raise Invalid(f"tunnel endpoint {text!r} is not an IP address", hint="For example 192.168.100.7.") from bad
    if address.is_multicast or address.is_unspecified or address.is_loopback:
        raise Invalid(f"{address} cannot be a tunnel endpoint", hint="Name an address that the other hosts reach.")
    for other in session.execute(select(Host).where(col(Host.id) != host.id)).scalars():
        if fabric.vtep(other) == str(address):
            raise Conflict(f"{address} is the tunnel endpoint of host {other.name}", hint="Each host needs its own.")
    return str(address)


def _physnets(wanted: dict[str, str]) -> dict[str, str]:
    for name, interface in wanted.items():
        if not _PHYSNET.fullmatch(name):
            raise Invalid(f"{name!r} cannot be a physical network's name", hint="For example physnet1.")
        if not _INTERFACE.fullmatch(interface):
            raise Invalid(f"{interface!r} is no interface name", hint="For example eth1, or a bridge of yours.")
    twice = {interface for interface in wanted.values() if list(wanted.values()).count(interface) > 1}
    if twice:
        raise Invalid(f"interface {min(twice)} leads to two physical networks", hint="Give each its own.")
    return dict(sorted(wanted.items()))
