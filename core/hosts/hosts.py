"""Hosts: what each has, what is claimed of it, and whether it can be spoken to.

`*_used` are the sums of the host's claims, kept on the row so that one compare-and-set UPDATE can place an instance
and a CHECK can refuse what would not fit. `verify` compares them with the claims.
"""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, Column, UniqueConstraint, func, update
from sqlmodel import Field, Session, SQLModel, col

from core import events
from core.config import Config
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.identity.policy import authorize
from core.sql import select
from core.store import now
from hostd.spec import Observation, PowerState

RESOURCES = ("vcpus", "ram_mb", "disk_gb")


class Host(SQLModel, table=True):
    """A hypervisor. `cap` is what the database lets be used: (total - reserved) x ratio, or what already is used
    when the host shrank below that."""

    __table_args__ = (
        CheckConstraint("vcpus_used <= vcpus_cap", name="vcpus_fit"),
        CheckConstraint("ram_mb_used <= ram_mb_cap", name="ram_fits"),
        CheckConstraint("disk_gb_used <= disk_gb_cap", name="disk_fits"),
        CheckConstraint("vcpus_used >= 0 AND ram_mb_used >= 0 AND disk_gb_used >= 0", name="used_not_negative"),
    )

    id: str = Field(primary_key=True)
    """The host's own uuid, from its machine-id: it is never known by its name."""
    name: str = Field(unique=True)
    address: str
    """Where SSH reaches it; empty for the local machine."""
    port: int = 22
    ssh_user: str = "root"
    host_key: str = ""
    """Pinned OpenSSH public key; empty for the local machine."""
    socket: str = ""
    """The local machine's hostd socket; empty for a remote host."""
    enabled: bool = True
    disabled_reason: str = ""
    state: str = "down"
    """up or down: whether its hostd answers the engine."""
    state_reason: str = "not connected yet"
    availability_zone: str = "nova"
    arch: str = "x86_64"
    cpu_model: str = ""
    accel: str = ""
    """`kvm: …` or `tcg (…)`, in hostd's words."""
    versions: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON))
    boot_id: str = ""
    journal_id: str = ""
    event_seq: int = 0
    """The newest of the host's events that has been taken in."""
    vcpus: int = 0
    ram_mb: int = 0
    disk_gb: int = 0
    ram_reserved_mb: int = 512
    disk_reserved_gb: int = 0
    cpu_ratio: float = 4.0
    ram_ratio: float = 1.0
    disk_ratio: float = 1.0
    vcpus_used: int = 0
    ram_mb_used: int = 0
    disk_gb_used: int = 0
    vcpus_cap: int = 0
    ram_mb_cap: int = 0
    disk_gb_cap: int = 0
    ram_free_mb: int = 0
    """As last observed, guests' real use included."""
    disk_free_gb: int = 0
    load1: float = 0.0
    running: int = 0
    """Guests running, as last observed."""
    vtep: str = ""
    """Its tunnel endpoint; empty: its SSH address, when that is an IP address."""
    physnets: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON))
    """Physical network to the interface or bridge that leads there."""
    failed_builds: int = 0
    """Consecutive: a success sets it to 0 (nova's BuildFailureWeigher)."""
    created_at: int = Field(sa_type=BigInteger)
    seen_at: int | None = Field(default=None, sa_type=BigInteger)

    def limit(self, resource: str) -> int:
        """(total - reserved) x allocation ratio."""
        total: int = getattr(self, resource)
        reserved = {"vcpus": 0, "ram_mb": self.ram_reserved_mb, "disk_gb": self.disk_reserved_gb}[resource]
        ratio = {"vcpus": self.cpu_ratio, "ram_mb": self.ram_ratio, "disk_gb": self.disk_ratio}[resource]
        return max(0, math.floor((total - reserved) * ratio))

    def refresh_caps(self) -> None:
        """After totals, reserves or ratios changed."""
        for resource in RESOURCES:
            setattr(self, f"{resource}_cap", max(self.limit(resource), getattr(self, f"{resource}_used")))

    def observed(self, seen: Observation, *, at: int) -> None:
        """Take in what the host has now. `at` in microseconds since the epoch."""
        have = seen.capacity
        self.arch, self.cpu_model, self.accel = have.arch, have.cpu_model, seen.accel.reason
        self.vcpus, self.ram_mb, self.disk_gb = have.vcpus, have.ram_mb, have.disk_gb
        self.ram_free_mb, self.disk_free_gb, self.load1 = have.ram_free_mb, have.disk_free_gb, have.load1
        self.running = sum(domain.power is PowerState.RUNNING for domain in seen.domains)
        self.seen_at = at
        self.refresh_caps()


class Claim(SQLModel, table=True):
    """What one instance takes of one host. Two exist while it moves."""

    __table_args__ = (UniqueConstraint("instance_id", "host_id"),)

    id: str = Field(primary_key=True)
    host_id: str = Field(foreign_key="host.id", index=True)
    instance_id: str = Field(index=True)
    vcpus: int
    ram_mb: int
    disk_gb: int


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
    host.name, host.address, host.port, host.ssh_user = name, address, port, ssh_user
    host.host_key, host.socket, host.availability_zone = host_key, socket, availability_zone
    session.flush()
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
) -> Host:
    """Change what an operator decides about a host. `ratios` keys: cpu, ram, disk; `reserved`: ram_mb, disk_gb."""
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
    host.refresh_caps()
    events.record(session, ctx, "host.set", kind="host", id=host.id, name=host.name, before=before, after=after)
    return host


def remove(session: Session, ctx: Context, id_or_name: str) -> Host:
    """Forget a host that holds no instance. Raises Conflict naming how many it holds."""
    authorize(ctx, "host:manage")
    host = find(session, ctx, id_or_name)
    held = session.execute(select(func.count()).where(col(Claim.host_id) == host.id)).scalar_one()
    if held:
        raise Conflict(f"host {host.name} holds {held} instances", hint="Delete or move them first.")
    session.delete(host)
    session.info["enqueued"] = True
    events.record(session, ctx, "host.remove", kind="host", id=host.id, name=host.name)
    return host
