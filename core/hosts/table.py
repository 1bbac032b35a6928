"""The tables of hosts: what each has, and what is claimed of it.

`*_used` are the sums of the host's claims, kept on the row so that one compare-and-set UPDATE can place an instance
and a CHECK can refuse what would not fit. `verify` compares them with the claims.
"""

from __future__ import annotations

import math

from sqlalchemy import JSON, BigInteger, CheckConstraint, Column, UniqueConstraint
from sqlmodel import Field, SQLModel

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
