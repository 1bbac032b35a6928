"""A volume made into an image: cinder's upload-to-image."""

from __future__ import annotations

from typing import Final

from sqlmodel import Session

from core import audit
from core.config import Config
from core.context import Context
from core.errors import Invalid
from core.images import convert, images, properties
from core.images.images import Image
from core.images.stores import Stores
from core.operations.operations import Operation
from core.volumes import access, guards, placement, snapshots

_GIB: Final = 1 << 30

_ABOUT_ITS_IMAGE: Final = frozenset({"image_id", "image_name"})
"""What a volume knows of the image it was made from, beside that image's fields."""


def upload(
    session: Session,
    ctx: Context,
    config: Config,
    id: str,
    *,
    image_name: str,
    disk_format: str = "qcow2",
    visibility: str = "private",
    force: bool = False,
) -> tuple[Image, Operation]:
    """An image of a volume as it is now; `uploading` meanwhile. A volume in use needs `force`: it is read as it is at
    one moment, as after a power cut.

    Raises Invalid, NotFound, Forbidden, QuotaExceeded; Conflict as its guard.
    """
    volume = access.find(session, ctx, id, rule="volume:upload")
    if disk_format not in convert.FORMATS:
        raise Invalid(f"a volume cannot be uploaded as {disk_format!r}", hint=f"One of {', '.join(convert.FORMATS)}.")
    limit = images.size_limit(session, ctx.project_id, config.image_size_cap)
    if volume.size_gb * _GIB > limit:
        raise Invalid(
            f"volume {guards.called(volume)} has {volume.size_gb} GiB, an image of this project at most {limit} bytes",
            hint="An admin may raise it: skydeck quota set --image-size BYTES PROJECT",
        )
    lane = placement.actor(session, volume)
    in_use = volume.status == guards.IN_USE
    guards.begin(session, ctx, volume, "upload", force=force)
    image = images.create(
        session,
        ctx,
        name=image_name,
        disk_format=disk_format,
        visibility=visibility,
        min_disk_gb=_number(volume.image_properties.get("min_disk")),
        min_ram_mb=_number(volume.image_properties.get("min_ram")),
        source=f"volume {volume.id}",
        store=Stores(config).default,
        properties=_inherited(volume.image_properties),
    )
    images.begin(session, ctx, image.id)
    snapshot = snapshots.hidden(session, ctx, volume) if in_use else None
    audit.record(session, ctx, volume, kind="volume", action="upload", after={"image_id": image.id})
    args = {"image": image.id, "snapshot": None if snapshot is None else snapshot.id}
    return image, access.enqueue(session, ctx, volume, "upload", lane=lane, args=args)


def _inherited(told: dict[str, str]) -> dict[str, str]:
    """Of what the volume knows of its image, what is that image's property."""
    return {key: value for key, value in told.items() if key not in properties.RESERVED | _ABOUT_ITS_IMAGE}


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else 0
