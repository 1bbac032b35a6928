"""The tables of storage, together: nouns refer to each other.

What the database itself holds: one live attachment per volume that is not multiattach, one per (volume, instance), one
volume type and one backend per name.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Column, Index, text
from sqlmodel import Field, SQLModel

LOCAL: Final = "local"
"""The backend every cloud begins with: files on each host's own disk."""

SHARED_DRIVERS: Final = ("nfs", "iscsi", "rbd")
"""A volume of these is reached by every host that reaches its backend; of others, only by the host that holds it."""


class Backend(SQLModel, table=True):
    """A place where volumes are kept (cinder's backend; its name is a type's volume_backend_name)."""

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    driver: str
    """file, nfs, lvm, iscsi or rbd."""
    options: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON))
    """The driver's own, as BackendSpec.options."""
    enabled: bool = True
    """Whether new volumes may be placed here."""
    disabled_reason: str = ""
    availability_zone: str = ""
    """Of a shared backend; a local one has its hosts'."""
    hosts: list[str] | None = Field(default=None, sa_column=Column(JSON))
    """Ids of the hosts that shall reach it; None: all."""
    max_over_subscription: float = 10.0
    """How many times its capacity thin volumes may promise (cinder's max_over_subscription_ratio)."""
    reserved_percent: int = 5
    description: str = ""
    created_at: int = Field(sa_type=BigInteger)

    @property
    def shared(self) -> bool:
        return self.driver in SHARED_DRIVERS


class BackendHost(SQLModel, table=True):
    """A backend as one host reaches it, when last looked at."""

    __tablename__ = "backend_host"

    backend_id: str = Field(primary_key=True, foreign_key="backend.id", ondelete="CASCADE")
    host_id: str = Field(primary_key=True, index=True)
    reachable: bool = False
    detail: str = ""
    hint: str = ""
    total_bytes: int = Field(default=0, sa_type=BigInteger)
    free_bytes: int = Field(default=0, sa_type=BigInteger)
    capabilities: list[str] = Field(default_factory=list, sa_column=Column(JSON))
    volumes: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON))
    """[{uuid, size, allocated, snapshots}, …]: what is there, whoever knows of it."""
    seen_at: int = Field(sa_type=BigInteger)


class QosSpec(SQLModel, table=True):
    __tablename__ = "qos_spec"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    consumer: str = "front-end"
    """front-end: QEMU limits each attachment (cinder's other two values are taken for it)."""
    specs: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON))
    """total_iops_sec, read_iops_sec, write_iops_sec, total_bytes_sec, read_bytes_sec, write_bytes_sec, and
    total_iops_sec_per_gb, total_bytes_sec_per_gb."""
    created_at: int = Field(sa_type=BigInteger)


class VolumeType(SQLModel, table=True):
    __tablename__ = "volume_type"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    description: str = ""
    is_public: bool = True
    is_default: bool = False
    extra_specs: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON))
    """volume_backend_name chooses the backend; multiattach "<is> True"; others are capabilities a backend must have."""
    qos_id: str | None = Field(default=None, foreign_key="qos_spec.id", index=True)
    created_at: int = Field(sa_type=BigInteger)


class VolumeTypeAccess(SQLModel, table=True):
    """A project that may use a type that is not public."""

    __tablename__ = "volume_type_access"

    type_id: str = Field(primary_key=True, foreign_key="volume_type.id", ondelete="CASCADE")
    project_id: str = Field(primary_key=True)


class Volume(SQLModel, table=True):
    """Deleted rows stay (`deleted_at` > 0)."""

    __table_args__ = (
        Index("volume_by_name", "deleted_at", "project_id", "name", "id"),
        Index("volume_by_age", "deleted_at", "project_id", "created_at", "id"),
        Index("volume_use", "deleted_at", "project_id", "type_id", "size_gb"),
    )

    id: str = Field(primary_key=True)
    name: str = ""
    description: str = ""
    project_id: str = Field(foreign_key="project.id", ondelete="CASCADE")
    user_id: str
    size_gb: int
    status: str = "creating"
    """cinder's words (semantics F)."""
    previous_status: str = ""
    """What it was before the running task, and is again when that fails."""
    type_id: str | None = Field(default=None, foreign_key="volume_type.id")
    backend_id: str = Field(foreign_key="backend.id", index=True)
    host_id: str | None = Field(default=None, index=True)
    """The host that holds it; None on a shared backend."""
    availability_zone: str = ""
    bootable: bool = False
    read_only: bool = False
    multiattach: bool = False
    source_kind: str = ""
    """image, volume, snapshot, backup, or empty."""
    source_id: str = ""
    image_properties: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON))
    """volume_image_metadata: of the image it was made from, min_disk, min_ram, disk_format and name besides."""
    properties: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON))
    """cinder's metadata."""
    generation: int = 0
    """The newest given to a host."""
    fault: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    """{title, hint, operation}: why the last task failed."""
    proven_at: int | None = Field(default=None, sa_type=BigInteger)
    """When a restore drill last booted one of its backups."""
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)
    deleted_at: int = Field(default=0, sa_type=BigInteger)


class VolumeAttachment(SQLModel, table=True):
    """A volume in a guest's hands, or on its way in or out."""

    __tablename__ = "volume_attachment"
    __table_args__ = (
        # `slot` is the volume's id, or of a multiattach volume the attachment's own: the database holds one writer.
        Index(
            "one_attachment_per_slot",
            "slot",
            unique=True,
            sqlite_where=text("detached_at = 0"),
            postgresql_where=text("detached_at = 0"),
        ),
        Index(
            "one_attachment_per_instance",
            "volume_id",
            "instance_id",
            unique=True,
            sqlite_where=text("detached_at = 0"),
            postgresql_where=text("detached_at = 0"),
        ),
    )

    id: str = Field(primary_key=True)
    volume_id: str = Field(foreign_key="volume.id", index=True)
    instance_id: str = Field(foreign_key="instance.id", index=True)
    slot: str
    status: str = "reserved"
    """reserved attaching attached detaching detached error_attaching error_detaching"""
    device: str = ""
    """As the guest may name it: /dev/vdb. A guess, as nova's is; the serial is what identifies it."""
    number: int = 0
    """The order it was attached in, for a stable order of disks."""
    boot_index: int | None = None
    bus: str = ""
    read_only: bool = False
    delete_on_termination: bool = False
    tag: str = ""
    attached_at: int | None = Field(default=None, sa_type=BigInteger)
    detached_at: int = Field(default=0, sa_type=BigInteger)


class Snapshot(SQLModel, table=True):
    """Of a volume."""

    __table_args__ = (Index("snapshot_of_volume", "volume_id", "deleted_at"),)

    id: str = Field(primary_key=True)
    name: str = ""
    description: str = ""
    project_id: str = Field(foreign_key="project.id", ondelete="CASCADE", index=True)
    user_id: str
    volume_id: str = Field(foreign_key="volume.id")
    size_gb: int
    """Of the volume, when it was taken."""
    status: str = "creating"
    quiesced: bool | None = None
    """Whether the guest's file systems were frozen meanwhile; None: nobody had it open."""
    hidden: bool = False
    """Made for a backup and nobody's business: in no list, no quota, no guard."""
    properties: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON))
    generation: int = 0
    number: int = 0
    """The order the snapshots of a volume were taken in."""
    fault: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)
    deleted_at: int = Field(default=0, sa_type=BigInteger)


class Backup(SQLModel, table=True):
    """What a repository holds of a volume, whole, whether it was made whole or as what changed since its parent."""

    __table_args__ = (Index("backup_of_volume", "volume_id", "deleted_at"),)

    id: str = Field(primary_key=True)
    name: str = ""
    description: str = ""
    project_id: str = Field(foreign_key="project.id", ondelete="CASCADE", index=True)
    user_id: str
    volume_id: str
    """May be gone: a backup outlives its volume."""
    volume_name: str = ""
    snapshot_id: str | None = None
    """The user's snapshot it was made from, when it was."""
    base_snapshot_id: str | None = None
    """Its hidden snapshot, kept while it is the newest: what the next increment is told apart by."""
    parent_id: str | None = Field(default=None, index=True)
    """None: made whole."""
    size_gb: int
    """Of the volume."""
    status: str = "creating"
    container: str = ""
    """The repository's name in the configuration."""
    manifest: str = ""
    """sha256 of the manifest, its name in the repository; empty until it is complete."""
    object_count: int = 0
    """Chunks it stands on."""
    stored_bytes: int = Field(default=0, sa_type=BigInteger)
    """What it added to the repository, packed."""
    volume_properties: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON))
    """bootable, type, image_properties, properties, of the volume, for a restore to a new one."""
    fault: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    verified_at: int | None = Field(default=None, sa_type=BigInteger)
    proven_at: int | None = Field(default=None, sa_type=BigInteger)
    """When a restore drill last booted it."""
    data_at: int | None = Field(default=None, sa_type=BigInteger)
    """The moment whose contents it holds."""
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)
    deleted_at: int = Field(default=0, sa_type=BigInteger)


class VolumeTransfer(SQLModel, table=True):
    """An offer of a volume to whoever knows its key."""

    __tablename__ = "volume_transfer"

    id: str = Field(primary_key=True)
    name: str = ""
    volume_id: str = Field(foreign_key="volume.id", unique=True)
    project_id: str = Field(index=True)
    salt: str
    key_hash: str
    """Never the key itself."""
    created_at: int = Field(sa_type=BigInteger)


class ImageMember(SQLModel, table=True):
    """A project that a shared image is shown to."""

    __tablename__ = "image_member"

    image_id: str = Field(primary_key=True, foreign_key="image.id", ondelete="CASCADE")
    project_id: str = Field(primary_key=True, index=True)
    status: str = "pending"
    """pending, accepted or rejected: what the member said."""
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)


class CachedImageRow(SQLModel, table=True):
    """An image on a host: what its cache holds, and what shall stay there."""

    __tablename__ = "cached_image"

    host_id: str = Field(primary_key=True)
    digest: str = Field(primary_key=True, index=True)
    size: int = Field(default=0, sa_type=BigInteger)
    present: bool = False
    refs: int = 0
    pinned: bool = False
    """Never pruned, and brought again when it is gone."""
    seen_at: int = Field(sa_type=BigInteger)
