"""How an image comes and goes: a record, its bytes brought by somebody, and its end."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col

from core import events, names
from core.context import Context
from core.errors import Conflict, Forbidden, Invalid
from core.identity import quotas
from core.identity.policy import allowed, authorize
from core.images import properties as image_properties
from core.images.images.access import find, owned
from core.images.images.table import FORMATS, VISIBILITIES, Image
from core.sql import select
from core.store import clock_of, now


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
    hidden: bool = False,
    source: str = "",
    store: str = "file",
    instance_id: str | None = None,
    properties: dict[str, str] | None = None,
) -> Image:
    """A record without data yet (`queued`). Data follows by `begin`, then `activate` or `kill`."""
    authorize(ctx, "image:create")
    names.check(name, "image")
    if disk_format not in FORMATS:
        raise Invalid(f"unknown disk format {disk_format!r}", hint=f"One of {', '.join(FORMATS)}.")
    check_visibility(ctx, visibility)
    check_least(min_disk_gb=min_disk_gb, min_ram_mb=min_ram_mb)
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
        hidden=hidden,
        source=source,
        store=store,
        instance_id=instance_id,
        properties=checked_properties(session, ctx, properties or {}),
        created_at=now(session),
        updated_at=now(session),
    )
    session.add(image)
    session.flush()
    record(session, ctx, image, "image.create", after={"disk_format": disk_format, "visibility": visibility})
    return image


def begin(session: Session, ctx: Context, image_id: str) -> Image:
    """queued → saving: somebody brings the data. Saving again is resuming."""
    image = owned(session, ctx, image_id, "image:create")
    if image.status not in ("queued", "saving"):
        raise Conflict(f"image {image.name} is {image.status}", hint="Data can be brought once.")
    image.status, image.updated_at = "saving", now(session)
    return image


def activate(
    session: Session,
    ctx: Context,
    image_id: str,
    *,
    digest: str | None,
    size: int,
    virtual_size: int,
) -> Image:
    """saving → active: the data is whole, inspected and in the store; or there is none (`digest` None), for an image
    that only names snapshots of volumes."""
    image = owned(session, ctx, image_id, "image:create")
    if image.status != "saving":
        raise Conflict(f"image {image.name} is {image.status}, not saving")
    image.status, image.digest, image.size, image.virtual_size = "active", digest, size, virtual_size
    image.updated_at = now(session)
    record(session, ctx, image, "image.activate", after={"digest": digest, "size": size, "store": image.store})
    return image


def kill(session: Session, ctx: Context, image_id: str, *, error: str) -> Image:
    """saving → killed: the data was refused; the reason stays readable."""
    image = owned(session, ctx, image_id, "image:create")
    image.status, image.error, image.updated_at = "killed", error, now(session)
    record(session, ctx, image, "image.kill", after={"error": error})
    return image


def delete(session: Session, ctx: Context, id_or_name: str) -> Image:
    """Instances made from it keep running: their hosts hold the bytes until the last of them is gone.

    Raises Forbidden for a protected one, Conflict while other images boot with it.
    """
    image = owned(session, ctx, id_or_name, "image:delete")
    if image.protected:
        raise Forbidden(f"image {image.name} is protected", hint="skydeck image set --unprotected first.")
    if users := _booting_with(session, image):
        raise Conflict(
            f"image {image.name} is in use: {', '.join(users[:3])} {'boots' if len(users) == 1 else 'boot'} with it",
            hint="Delete those first, or unset their kernel_id and ramdisk_id.",
        )
    image.status, image.updated_at = "deleted", now(session)
    record(session, ctx, image, "image.delete")
    return image


def _booting_with(session: Session, image: Image) -> list[str]:
    """Names of the images whose kernel or ramdisk it is."""
    if image.disk_format not in ("aki", "ari"):
        return []
    parts = [col(Image.properties)[key].as_string() == image.id for key in ("kernel_id", "ramdisk_id")]
    query = select(Image.name).where(col(Image.status) != "deleted", parts[0] | parts[1]).order_by(col(Image.name))
    return list(session.execute(query).scalars())


def shared_digest(session: Session, digest: str) -> bool:
    """Whether any image that is not deleted still stands on these bytes."""
    query = select(Image.id).where(col(Image.digest) == digest, col(Image.status) != "deleted").limit(1)
    return session.execute(query).first() is not None


def size_limit(session: Session, project_id: str, cap: int) -> int:
    """The most virtual bytes an image of this project may have: its quota, at most the cloud's cap."""
    limit = quotas.limits(session, project_id)["image_size"]
    return cap if limit == quotas.UNLIMITED else min(limit, cap)


def check_visibility(ctx: Context, visibility: str) -> None:
    if visibility not in VISIBILITIES:
        raise Invalid(f"unknown visibility {visibility!r}", hint=f"One of {', '.join(VISIBILITIES)}.")
    if visibility == "public" and not allowed(ctx, "image:create_public"):
        raise Forbidden("policy image:create_public needs the role admin", hint="Use private, shared or community.")


def check_least(**least: int | None) -> None:
    """min_disk_gb and min_ram_mb."""
    for key, value in least.items():
        if value is not None and not 0 <= value < 1 << 31:
            raise Invalid(f"{key} is {value}", hint="A number from 0 on.")


def checked_properties(session: Session, ctx: Context, properties: dict[str, str]) -> dict[str, str]:
    """kernel_id and ramdisk_id may be given by name; they are kept by id, and must be what they are used as."""
    checked = image_properties.check(properties)
    for key, kind in (("kernel_id", "aki"), ("ramdisk_id", "ari")):
        if key in checked:
            part = find(session, ctx, checked[key])
            if part.disk_format != kind:
                raise Invalid(f"{key} {part.name} is {part.disk_format}, not {kind}")
            checked[key] = part.id
    return checked


def record(session: Session, ctx: Context, image: Image, action: str, **changes: Any) -> None:
    events.record(
        session, ctx, action, kind="image", id=image.id, name=image.name, project_id=image.project_id, **changes
    )
