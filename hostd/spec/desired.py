"""What a guest shall be: the spec of an instance, and what it stands on."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import attrs


class Want(StrEnum):
    """What an object shall be on its host. Absence is a state, and the only one that deletes."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    PRESENT = "present"
    """For networking, which does not run, it is; for a guest whose power stays as it is, while what it is and what it
    is told are made so."""
    ABSENT = "absent"


class ObjectKind(StrEnum):
    """The kinds `apply` converges."""

    INSTANCE = "instance"
    NETWORKING = "networking"
    """All of a host's, in one document; its uuid is the host's."""
    VOLUME = "volume"
    SNAPSHOT = "snapshot"
    EXPORT = "export"


class DiskFormat(StrEnum):
    """Image formats as the host's QEMU is told them; never probed on the host."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    VHD = "vpc"
    VHDX = "vhdx"
    VDI = "vdi"
    ISO = "iso"
    AKI = "aki"
    ARI = "ari"


@attrs.frozen(kw_only=True)
class ImageRef:
    """A file of the host's image cache, named by what it holds."""

    digest: str
    """sha256, 64 hex digits, of the file's bytes."""
    format: DiskFormat
    size: int
    """Bytes of the file."""
    virtual_size: int
    """Bytes a guest would see; equals `size` for raw, kernels and ramdisks."""


BACKEND_OPTIONS: Final[dict[str, frozenset[str]]] = {
    "file": frozenset({"path", "format"}),
    "nfs": frozenset({"export", "mount_options", "path", "format"}),
    "lvm": frozenset({"vg", "pool"}),
    "iscsi": frozenset({"portal", "path", "iqn", "control", "initiators"}),
    "rbd": frozenset({"pool", "user", "conf", "keyring", "secret"}),
}
"""What each driver takes. Anything else is a mistake in writing, and would silently mean the default."""


@attrs.frozen(kw_only=True)
class BackendSpec:
    """A place where volumes are kept, as a host reaches it."""

    uuid: str
    driver: str
    """file, nfs, lvm, iscsi or rbd."""
    options: dict[str, str] = attrs.field(factory=dict)
    """The driver's own: see `hostd/storage/volumes/`. Names files of secrets on the host, never secrets."""


@attrs.frozen(kw_only=True)
class DiskLimits:
    """Most operations and bytes a second; 0: as many as there are. A total excludes its read and write parts."""

    total_iops: int = 0
    read_iops: int = 0
    write_iops: int = 0
    total_bytes: int = 0
    read_bytes: int = 0
    write_bytes: int = 0


@attrs.frozen(kw_only=True)
class VolumeDisk:
    """A volume attached to a guest. The guest sees the volume's uuid as the disk's serial (20 characters of it)."""

    volume: str
    backend: BackendSpec
    read_only: bool = False
    shareable: bool = False
    """Several guests have it open at once (multiattach)."""
    boot_index: int | None = None
    """0 boots first; None is never booted from."""
    bus: str = ""
    """virtio, scsi, sata, ide or usb; empty: the guest's own (Hardware.disk_bus)."""
    limits: DiskLimits = DiskLimits()


@attrs.frozen(kw_only=True)
class Hardware:
    """What an image's properties ask of a guest's hardware (glance's hw_* names)."""

    disk_bus: str = "virtio"
    vif_model: str = "virtio"
    """virtio, e1000, e1000e, rtl8139."""
    firmware: str = "bios"
    """bios or uefi."""
    machine: str = "q35"
    """q35 or pc."""
    video: str = ""
    """virtio, vga, none; empty: what the operating system knows."""


@attrs.frozen(kw_only=True)
class Nic:
    """One interface of a guest: a port of core's, bound to this host."""

    port_id: str
    network_id: str
    mac: str
    mtu: int
    ips: tuple[str, ...]
    """Addresses the guest is given, without prefix length."""


@attrs.frozen(kw_only=True)
class Metadata:
    """What the guest is told about itself: by the metadata service, and on the config drive."""

    hostname: str
    meta: dict[str, str]
    public_keys: dict[str, str]
    """Keypair name to OpenSSH public key line."""
    user_data: str | None
    """Base64 of the user's bytes; None when there are none."""
    network_data: dict[str, Any]
    """OpenStack's network_data.json: links, networks, services."""
    availability_zone: str
    project_id: str
    instance_type: str = ""
    """The flavor's name."""
    image_id: str = ""
    reservation_id: str = ""
    launch_index: int = 0
    security_groups: tuple[str, ...] = ()
    """Names."""
    name: str = ""
    """The instance's display name; empty: its hostname."""
    files: dict[str, str] = attrs.field(factory=dict)
    """Injected files: path to base64 contents."""


@attrs.frozen(kw_only=True)
class InstanceSpec:
    """A guest as its project wants it on this host."""

    uuid: str
    want: Want
    name: str
    """The display name: never a domain name, never a path."""
    project_id: str
    vcpus: int
    ram_mb: int
    root_gb: int
    """Size of the root overlay; 0 means the image's own virtual size."""
    ephemeral_gb: int = 0
    swap_mb: int = 0
    os_type: str | None = None
    """`linux`, `windows` or unknown: chooses the ephemeral disk's file system."""
    image: ImageRef | None = None
    """The root disk's backing file; None for a guest that boots from kernel and ramdisk alone."""
    kernel: ImageRef | None = None
    ramdisk: ImageRef | None = None
    cmdline: str = ""
    nics: tuple[Nic, ...] = ()
    metadata: Metadata | None = None
    config_drive: bool = False
    """Whether the metadata is on a disk of the guest as well."""
    stop_timeout: int = 60
    """Seconds a guest gets to obey ACPI power off before it is cut (nova's shutdown_timeout)."""
    hard: bool = False
    """For want=stopped: cut the power at once."""
    volumes: tuple[VolumeDisk, ...] = ()
    """Attached volumes, in the order they were attached. One with boot_index 0 takes the root disk's place."""
    hardware: Hardware = Hardware()
