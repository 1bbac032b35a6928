"""What is really there: an observation of one host."""

from __future__ import annotations

from enum import StrEnum

import attrs


class PowerState(StrEnum):
    """Nova's power states by name (nova/compute/power_state.py); core stores nova's numbers."""

    NOSTATE = "nostate"
    RUNNING = "running"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    SUSPENDED = "suspended"


@attrs.frozen(kw_only=True)
class GuestStats:
    """Counters since the guest started; rates are the reader's business."""

    cpu_time_ns: int = 0
    memory_mb: int = 0
    """Resident on the host."""
    disk_read_bytes: int = 0
    disk_write_bytes: int = 0
    net_rx_bytes: int = 0
    net_tx_bytes: int = 0


@attrs.frozen(kw_only=True)
class DomainSeen:
    """One libvirt domain. `owned` is false for a guest somebody made without skydeck."""

    uuid: str
    name: str
    power: PowerState
    owned: bool
    generation: int | None
    """The generation last applied, from the journal; None when the journal does not know it."""
    quarantined: bool = False
    stats: GuestStats | None = None
    volumes: tuple[str, ...] | None = None
    """uuids of the volumes that a guest which is on has plugged in, else of those its definition names; None: not
    known."""


@attrs.frozen(kw_only=True)
class DiskSeen:
    """One file under the host's instance store."""

    instance: str
    role: str
    """root, ephemeral, swap, config, save, console."""
    path: str
    size: int
    """Virtual bytes for a disk image, bytes on disk for others."""
    allocated: int


@attrs.frozen(kw_only=True)
class CachedImage:
    digest: str
    size: int
    verified: bool
    refs: int
    """Instances on this host whose chain stands on it."""


@attrs.frozen(kw_only=True)
class LinkSeen:
    """One network object of ours: a bridge, a tap, a service leg."""

    name: str
    kind: str
    network: str | None
    up: bool


@attrs.frozen(kw_only=True)
class NetworkSeen:
    uuid: str
    healthy: bool
    """All that the document asks of this network is there."""
    detail: str = ""


@attrs.frozen(kw_only=True)
class HostCheck:
    """Something about the host, not of our making, that networking depends on."""

    name: str
    """forward_drop, bridge_nf, uplink, mtu, …"""
    ok: bool
    detail: str = ""
    """What is in the way, for a person."""
    hint: str = ""
    """The next act."""


@attrs.frozen(kw_only=True)
class NetworkingSeen:
    """The host's networking as a whole."""

    generation: int | None
    """Of the document last applied; None when the journal does not know it."""
    healthy: bool
    detail: str = ""
    """What is to be mended."""
    backend: str = ""
    """How replies are recognised on a bridge: `bridge-conntrack` or `br-netfilter`."""
    checks: tuple[HostCheck, ...] = ()


@attrs.frozen(kw_only=True)
class Capacity:
    """What the host has. Reserved amounts and ratios are core's business."""

    arch: str
    cpu_model: str
    vcpus: int
    ram_mb: int
    ram_free_mb: int
    disk_gb: int
    """Of the file system that holds the instances."""
    disk_free_gb: int
    load1: float = 0.0
    uptime: int = 0


@attrs.frozen(kw_only=True)
class Accel:
    """How guests run here. `kvm` only after a probe guest was seen to boot under it."""

    mode: str
    """kvm or tcg."""
    reason: str
    """`kvm: probe booted in 0.8 s`, `tcg (kvm present, probe failed)`, `tcg (no /dev/kvm)`."""


@attrs.frozen(kw_only=True)
class Observation:
    """What is really there, at one moment."""

    at: float
    capacity: Capacity
    accel: Accel
    domains: tuple[DomainSeen, ...]
    disks: tuple[DiskSeen, ...]
    images: tuple[CachedImage, ...]
    networks: tuple[NetworkSeen, ...]
    links: tuple[LinkSeen, ...]
    networking: NetworkingSeen | None = None
    problems: tuple[str, ...] = ()
    """What could not be observed and why, e.g. that libvirtd does not answer."""
