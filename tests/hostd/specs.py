"""Specs that tests of the host share: complete, small, and with ids that are easy to read in a diff."""

from __future__ import annotations

from typing import Any, Final

from hostd.spec import DiskFormat, ImageRef, InstanceSpec, Metadata, Nic, Want

UUID: Final = "11111111-2222-4333-8444-555555555555"


def image(letter: str = "a", *, kind: DiskFormat = DiskFormat.QCOW2, virtual_size: int = 1 << 20) -> ImageRef:
    """An image whose digest is one letter."""
    return ImageRef(digest=letter * 64, format=kind, size=4096, virtual_size=virtual_size)


def nic(number: int = 1, *, mtu: int = 1450) -> Nic:
    return Nic(
        port_id=f"0000000{number}-aaaa-4bbb-8ccc-dddddddddddd",
        network_id=f"0000000{number}-1111-4222-8333-444444444444",
        mac=f"fa:16:3e:00:00:0{number}",
        mtu=mtu,
        ips=(f"10.0.0.{number}",),
    )


def metadata(**changes: Any) -> Metadata:
    """What a guest named `web` is told about itself."""
    fields: dict[str, Any] = {
        "hostname": "web",
        "meta": {"role": "front"},
        "public_keys": {"mine": "ssh-ed25519 AAAAC3Nza me@home"},
        "user_data": "I2Nsb3VkLWNvbmZpZwo=",
        "network_data": {},
        "availability_zone": "nova",
        "project_id": "0" * 32,
    }
    return Metadata(**{**fields, **changes})


def instance(**changes: Any) -> InstanceSpec:
    fields: dict[str, Any] = {
        "uuid": UUID,
        "want": Want.RUNNING,
        "name": "web",
        "project_id": "0" * 32,
        "vcpus": 1,
        "ram_mb": 128,
        "root_gb": 1,
    }
    return InstanceSpec(**{**fields, **changes})
