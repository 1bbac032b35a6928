"""Images: what instances are made from. The row is the record; the bytes lie in the image store, by digest.

States are glance's (semantics G): queued → saving → active → deleted, and killed when the data was refused.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, func
from sqlmodel import Field, Session, SQLModel, col

from core import events, names
from core.context import Context
from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.identity import quotas
from core.identity.policy import allowed, authorize
from core.sql import select
from core.store import clock_of, now
from hostd.spec import DiskFormat, ImageRef

FORMATS = ("raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso", "aki", "ari")
"""disk_format as glance writes it."""

VISIBILITIES = ("public", "private", "shared", "community")

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
    def ref(self) -> ImageRef:
        """As the wire names it. Only an active image has one."""
        assert self.digest is not None
        assert self.size is not None
        return ImageRef(
            digest=self.digest,
            format=_WIRE[self.disk_format],
            size=self.size,
            virtual_size=self.virtual_size if self.virtual_size is not None else self.size,
        )


@quotas.counts("images")
def _count(project_id: str) -> Any:
    return select(func.count()).where(col(Image.project_id) == project_id, col(Image.status) != "deleted")


def visible(ctx: Context) -> Any:
    if ctx.is_admin:
        return col(Image.status) != "deleted"
    mine = (col(Image.project_id) == ctx.project_id) | col(Image.visibility).in_(["public", "community"])
    return (col(Image.status) != "deleted") & mine


def find(session: Session, ctx: Context, id_or_name: str) -> Image:
    """By id, or a name that is unique among those the caller sees; its own project's win. Raises NotFound, Invalid."""
    authorize(ctx, "image:list")
    wanted = (col(Image.id) == id_or_name) | (col(Image.name) == id_or_name)
    rows = list(session.execute(select(Image).where(wanted, visible(ctx))).scalars())
    own = [row for row in rows if row.project_id == ctx.project_id] or rows
    if not own:
        raise NotFound(f"no image {id_or_name!r}", hint="skydeck image list shows them.")
    if len(own) > 1:
        raise Invalid(f"{len(own)} images are named {id_or_name!r}", hint="Use the id.")
    return own[0]


def create(
    session: Session,
    ctx: Context,
    *,
    name: str,
    disk_format: str,
    visibility: str = "private",
    min_disk_gb: int = 0,
    min_ram_mb: int = 0,
    protected: bool = False,
    source: str = "",
    properties: dict[str, str] | None = None,
) -> Image:
    """A record without data yet (`queued`). Data follows by `begin`, then `activate` or `kill`."""
    authorize(ctx, "image:create")
    names.check(name, "image")
    if disk_format not in FORMATS:
        raise Invalid(f"unknown disk format {disk_format!r}", hint=f"One of {', '.join(FORMATS)}.")
    _check_visibility(ctx, visibility)
    quotas.check(session, ctx, images=1)
    image = Image(
        id=clock_of(session).uuid(),
        name=name,
        project_id=ctx.project_id,
        visibility=visibility,
        disk_format=disk_format,
        container_format=disk_format if disk_format in ("aki", "ari") else "bare",
        min_disk_gb=min_disk_gb,
        min_ram_mb=min_ram_mb,
        protected=protected,
        source=source,
        properties=_checked(session, ctx, properties or {}),
        created_at=now(session),
        updated_at=now(session),
    )
    session.add(image)
    session.flush()
    _record(session, ctx, image, "image.create", after={"disk_format": disk_format, "visibility": visibility})
    return image


def begin(session: Session, ctx: Context, image_id: str) -> Image:
    """queued → saving: somebody brings the data. Saving again is resuming."""
    image = owned(session, ctx, image_id, "image:create")
    if image.status not in ("queued", "saving"):
        raise Conflict(f"image {image.name} is {image.status}", hint="Data can be brought once.")
    image.status, image.updated_at = "saving", now(session)
    return image


def activate(session: Session, ctx: Context, image_id: str, *, digest: str, size: int, virtual_size: int) -> Image:
    """saving → active: the data is whole, inspected and in the store."""
    image = owned(session, ctx, image_id, "image:create")
    if image.status != "saving":
        raise Conflict(f"image {image.name} is {image.status}, not saving")
    image.status, image.digest, image.size, image.virtual_size = "active", digest, size, virtual_size
    image.updated_at = now(session)
    _record(session, ctx, image, "image.activate", after={"digest": digest, "size": size})
    return image


def kill(session: Session, ctx: Context, image_id: str, *, error: str) -> Image:
    """saving → killed: the data was refused; the reason stays readable."""
    image = owned(session, ctx, image_id, "image:create")
    image.status, image.error, image.updated_at = "killed", error, now(session)
    _record(session, ctx, image, "image.kill", after={"error": error})
    return image


def size_limit(session: Session, ctx: Context, cap: int) -> int:
    """The most virtual bytes an image of this project may have: its quota, at most the cloud's cap."""
    limit = quotas.limits(session, ctx.project_id)["image_size"]
    return cap if limit == quotas.UNLIMITED else min(limit, cap)


def update(
    session: Session,
    ctx: Context,
    id_or_name: str,
    *,
    name: str | None = None,
    visibility: str | None = None,
    protected: bool | None = None,
    min_disk_gb: int | None = None,
    min_ram_mb: int | None = None,
    properties: dict[str, str] | None = None,
    unset: tuple[str, ...] = (),
) -> Image:
    """Formats and data are immutable; the rest may change."""
    image = owned(session, ctx, id_or_name, "image:set")
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = names.check(name, "image")
    if visibility is not None:
        _check_visibility(ctx, visibility)
        changes["visibility"] = visibility
    for key, value in (("protected", protected), ("min_disk_gb", min_disk_gb), ("min_ram_mb", min_ram_mb)):
        if value is not None:
            changes[key] = value
    if properties or unset:
        merged = {**image.properties, **_checked(session, ctx, properties or {})}
        changes["properties"] = {key: value for key, value in merged.items() if key not in unset}
    before = {key: getattr(image, key) for key in changes}
    for key, value in changes.items():
        setattr(image, key, value)
    image.updated_at = now(session)
    _record(session, ctx, image, "image.set", before=before, after=changes)
    return image


def delete(session: Session, ctx: Context, id_or_name: str) -> Image:
    """Instances made from it keep running: their hosts hold the bytes until the last of them is gone."""
    image = owned(session, ctx, id_or_name, "image:delete")
    if image.protected:
        raise Forbidden(f"image {image.name} is protected", hint="skydeck image set --unprotected first.")
    image.status, image.updated_at = "deleted", now(session)
    _record(session, ctx, image, "image.delete")
    return image


def shared_digest(session: Session, digest: str) -> bool:
    """Whether any image that is not deleted still stands on these bytes."""
    query = select(Image.id).where(col(Image.digest) == digest, col(Image.status) != "deleted").limit(1)
    return session.execute(query).first() is not None


def owned(session: Session, ctx: Context, id_or_name: str, rule: str) -> Image:
    """An image the caller may change. Raises Forbidden for one it only sees."""
    authorize(ctx, rule)
    image = find(session, ctx, id_or_name)
    if image.project_id != ctx.project_id and not ctx.is_admin:
        raise Forbidden(f"image {image.name} belongs to another project")
    return image


def _check_visibility(ctx: Context, visibility: str) -> None:
    if visibility not in VISIBILITIES:
        raise Invalid(f"unknown visibility {visibility!r}", hint=f"One of {', '.join(VISIBILITIES)}.")
    if visibility == "public" and not allowed(ctx, "image:create_public"):
        raise Forbidden("policy image:create_public needs the role admin", hint="Use private, shared or community.")


def _checked(session: Session, ctx: Context, properties: dict[str, str]) -> dict[str, str]:
    """kernel_id and ramdisk_id may be given by name; they are kept by id, and must be what they are used as."""
    checked = dict(properties)
    for key, kind in (("kernel_id", "aki"), ("ramdisk_id", "ari")):
        if key in checked:
            part = find(session, ctx, checked[key])
            if part.disk_format != kind:
                raise Invalid(f"{key} {part.name} is {part.disk_format}, not {kind}")
            checked[key] = part.id
    return checked


def _record(session: Session, ctx: Context, image: Image, action: str, **changes: Any) -> None:
    events.record(
        session, ctx, action, kind="image", id=image.id, name=image.name, project_id=image.project_id, **changes
    )
