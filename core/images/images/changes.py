"""What may change of an image. Its formats may while nothing was brought, its data never; the rest may."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlmodel import Session

from core import names
from core.context import Context
from core.errors import Conflict, Invalid
from core.identity.policy import authorize
from core.images import properties as image_properties
from core.images.images.access import find, owned
from core.images.images.life import check_least, check_visibility, checked_properties, record
from core.images.images.table import FORMATS, Image
from core.store import now


def set(
    session: Session,
    ctx: Context,
    id_or_name: str,
    *,
    name: str | None = None,
    visibility: str | None = None,
    protected: bool | None = None,
    hidden: bool | None = None,
    disk_format: str | None = None,
    min_disk_gb: int | None = None,
    min_ram_mb: int | None = None,
    properties: dict[str, str] | None = None,
) -> Image:
    """Change what is given; properties are added to those there are.

    Raises NotFound, Forbidden, Invalid; Conflict for the format of an image that has data, or is getting it.
    """
    image = owned(session, ctx, id_or_name, "image:set")
    check_least(min_disk_gb=min_disk_gb, min_ram_mb=min_ram_mb)
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = names.check(name, "image")
    if visibility is not None:
        check_visibility(ctx, visibility)
        changes["visibility"] = visibility
    if disk_format is not None and disk_format != image.disk_format:
        changes |= _formats(image, disk_format)
    for key, value in (
        ("protected", protected),
        ("hidden", hidden),
        ("min_disk_gb", min_disk_gb),
        ("min_ram_mb", min_ram_mb),
    ):
        if value is not None:
            changes[key] = value
    if properties:
        merged = {**image.properties, **checked_properties(session, ctx, properties)}
        image_properties.check_count(merged)
        changes["properties"] = merged
    return _change(session, ctx, image, changes)


def unset(session: Session, ctx: Context, id_or_name: str, *, properties: Iterable[str]) -> Image:
    """Remove properties. Raises NotFound, Forbidden."""
    image = owned(session, ctx, id_or_name, "image:set")
    gone = {*properties}
    return _change(
        session, ctx, image, {"properties": {key: value for key, value in image.properties.items() if key not in gone}}
    )


def update(session: Session, ctx: Context, id_or_name: str, *, unset: tuple[str, ...] = (), **changes: Any) -> Image:
    """`set`, then `unset`, as one change for a form that does both."""
    image = set(session, ctx, id_or_name, **changes)
    if unset:
        kept = {key: value for key, value in image.properties.items() if key not in unset}
        _change(session, ctx, image, {"properties": kept})
    return image


def deactivate(session: Session, ctx: Context, id_or_name: str) -> Image:
    """active → deactivated: nobody launches from it, and only the operator reads it, until it is active again.

    Once more changes nothing. Raises NotFound, Forbidden, Conflict in any other state.
    """
    return _switch(session, ctx, id_or_name, "deactivate", before="active", after="deactivated")


def reactivate(session: Session, ctx: Context, id_or_name: str) -> Image:
    """deactivated → active. Once more changes nothing. Raises NotFound, Forbidden, Conflict in any other state."""
    return _switch(session, ctx, id_or_name, "reactivate", before="deactivated", after="active")


def _switch(session: Session, ctx: Context, id_or_name: str, verb: str, *, before: str, after: str) -> Image:
    authorize(ctx, "image:deactivate")
    image = find(session, ctx, id_or_name)
    if image.status == after:
        return image
    if image.status != before:
        raise Conflict(f"cannot {verb} image {image.name}: it is {image.status}", hint=f"It must be {before}.")
    image.status, image.updated_at = after, now(session)
    record(session, ctx, image, f"image.{verb}", before={"status": before}, after={"status": after})
    return image


def _formats(image: Image, disk_format: str) -> dict[str, str]:
    if disk_format not in FORMATS:
        raise Invalid(f"unknown disk format {disk_format!r}", hint=f"One of {', '.join(FORMATS)}.")
    if image.status != "queued":
        raise Conflict(
            f"the disk format of image {image.name} is {image.disk_format} for good: it is {image.status}",
            hint="Add it again as what it is.",
        )
    return {
        "disk_format": disk_format,
        "container_format": disk_format if disk_format in ("aki", "ari") else "bare",
    }


def _change(session: Session, ctx: Context, image: Image, changes: dict[str, Any]) -> Image:
    before = {key: getattr(image, key) for key in changes}
    for key, value in changes.items():
        setattr(image, key, value)
    image.updated_at = now(session)
    session.flush()
    record(session, ctx, image, "image.set", before=before, after=changes)
    return image
