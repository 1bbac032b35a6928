"""Guests that use what a test says."""

from __future__ import annotations

from typing import Any

from hostd.spec import GuestSample, HostSample

SECOND = 1_000_000
NOW = 1_700_000_000

ONE = "aaaaaaaa-0000-4000-8000-000000000001"
TWO = "aaaaaaaa-0000-4000-8000-000000000002"
HOST = "cccccccc-0000-4000-8000-000000000003"


def guest(uuid: str = ONE, at: float = NOW, **counted: Any) -> GuestSample:
    """`at` in seconds; what is not said is zero."""
    values: dict[str, Any] = {
        "cpu_ns": 0,
        "vcpus": 1,
        "memory_used": 64 << 20,
        "memory_max": 128 << 20,
        "memory_guest": True,
        "disk_read_bytes": 0,
        "disk_write_bytes": 0,
        "disk_read_ops": 0,
        "disk_write_ops": 0,
        "net_rx_bytes": 0,
        "net_tx_bytes": 0,
        "net_rx_packets": 0,
        "net_tx_packets": 0,
    }
    return GuestSample(uuid=uuid, at_us=int(at * SECOND), **values | counted)


def host(at: float = NOW, **counted: Any) -> HostSample:
    values: dict[str, Any] = {
        "cpu_busy_ns": 0,
        "cpus": 4,
        "memory_used": 1 << 30,
        "memory_total": 4 << 30,
        "disk_used": 10 << 30,
        "disk_total": 100 << 30,
        "load1": 0.5,
        "net_rx_bytes": 0,
        "net_tx_bytes": 0,
    }
    return HostSample(at_us=int(at * SECOND), **values | counted)
