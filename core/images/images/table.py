"""The image row, and how images are counted.

States are glance's (semantics G): queued → saving → active ⇄ deactivated → deleted, and killed when the data was
refused.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Column, Index, func
from sqlmodel import Field, SQLModel, col

from core.identity import quotas
from core.sql import select
from hostd.spec import DiskFormat, ImageRef

FORMATS: Final = ("raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso", "aki", "ari")
"""disk_format as glance writes it."""

VISIBILITIES: Final = ("public", "private", "shared", "community")

_WIRE = {name: DiskFormat(name) for name in FORMATS if name != "vhd"} | {"vhd": DiskFormat.VHD}


class Image(SQLModel, table=True):
    __table_args__ = (Index("image_by_name", "project_id", "name"),)

    id: str = Field(primary_key=True)
    name: str
    project_id: str = Field(foreign_key="project.id", ondelete="CASCADE")
    """Of a deleted row the record goes with its project; a project with live ones cannot be deleted."""
    status: str = "queued"
    visibility: str = "private"
    disk_format: str
    container_format: str = "bare"
    size: int | None = Field(default=None, sa_type=BigInteger)
    """Bytes of the file."""
    virtual_size: int | None = Field(default=None, sa_type=BigInteger)
    """Bytes a guest sees."""
    digest: str | None = None
    """sha256; glance's os_hash_value."""
    min_disk_gb: int = 0
    min_ram_mb: int = 0
    protected: bool = False
    source: str = ""
    """The file or URL it came from."""
    error: str = ""
    """Why it was killed."""
    hidden: bool = False
    """os_hidden: left out of lists that do not ask for it."""
    store: str = "file"
    """Where the bytes are: the image store's name in the configuration (glance's stores)."""
    instance_id: str | None = None
    """The server it was made from (glance's instance_uuid)."""
    properties: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON))
    """kernel_id, ramdisk_id, os_type, architecture, os_command_line, …"""
    created_at: int = Field(sa_type=BigInteger)
    updated_at: int = Field(sa_type=BigInteger)

    @property
    def wire_format(self) -> DiskFormat:
        """disk_format as the wire names it."""
        return _WIRE[self.disk_format]

    @property
    def ref(self) -> ImageRef:
        """As the wire names it. Only an image with bytes has one."""
        assert self.digest is not None
        assert self.size is not None
        return ImageRef(
            digest=self.digest,
            format=self.wire_format,
            size=self.size,
            virtual_size=self.virtual_size if self.virtual_size is not None else self.size,
        )


@quotas.counts("images")
def _count(project_id: str) -> Any:
    return select(func.count()).where(col(Image.project_id) == project_id, col(Image.status) != "deleted")
