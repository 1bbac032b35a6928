"""Who sees an image, who finds it by name, and who may use its bytes (glance/db/sqlalchemy/api.py, is_image_visible).

A project sees its own images, public and community ones, and shared ones that it is a member of. A list shows fewer:
community images of others and hidden ones only to who asks for them, shared ones only to members that accepted.
A name finds what a list would show: nobody can put an image under a name that others use by making it community, or by
sharing it with them unasked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import true
from sqlmodel import Session, col

from core.context import Context
from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.identity.policy import allowed, authorize
from core.images.images.table import Image
from core.sql import select
from core.volumes.tables import ImageMember


def visible(ctx: Context) -> Any:
    """WHERE: what the caller may see at all, when it knows the id."""
    there = col(Image.status) != "deleted"
    if ctx.is_admin:
        return there
    open_to_all = col(Image.visibility).in_(["public", "community"])
    return there & ((col(Image.project_id) == ctx.project_id) | open_to_all | _member(ctx))


def listed(ctx: Context, where: Mapping[str, str]) -> Any:
    """WHERE: of what is visible, what a list shows whose filters are `where`."""
    shown: Any = true() if "hidden" in where else col(Image.hidden).is_(False)
    if ctx.all_projects:
        return shown
    own = col(Image.project_id) == ctx.project_id
    others = (col(Image.visibility) == "public") | _member(ctx, "accepted")
    if where.get("visibility", "").lower() == "community":
        others = others | (col(Image.visibility) == "community")
    return shown & (own | others)


def _member(ctx: Context, status: str | None = None) -> Any:
    mine = select(ImageMember.image_id).where(col(ImageMember.project_id) == ctx.project_id)
    if status is not None:
        mine = mine.where(col(ImageMember.status) == status)
    return (col(Image.visibility) == "shared") & col(Image.id).in_(mine)


def find(session: Session, ctx: Context, id_or_name: str) -> Image:
    """By id, or by a name: its own project's before those a list shows it, and these before all others an admin sees.

    Raises NotFound, Invalid when several have the name.
    """
    authorize(ctx, "image:list")
    rows = list(
        session.execute(
            select(Image).where((col(Image.id) == id_or_name) | (col(Image.name) == id_or_name), visible(ctx))
        ).scalars()
    )
    if by_id := [row for row in rows if row.id == id_or_name]:
        return by_id[0]
    own = [row for row in rows if row.project_id == ctx.project_id]
    if not own and rows:
        shown = select(Image.id).where(col(Image.name) == id_or_name, visible(ctx), listed(ctx, {"hidden": ""}))
        ids = {*session.execute(shown).scalars()}
        own = [row for row in rows if row.id in ids] or (rows if ctx.is_admin else [])
    if not own:
        raise NotFound(f"no image {id_or_name!r}", hint="skydeck image list shows them.")
    if len(own) > 1:
        raise Invalid(f"{len(own)} images are named {id_or_name!r}", hint="Use the id.")
    return own[0]


def owned(session: Session, ctx: Context, id_or_name: str, rule: str) -> Image:
    """An image the caller may change. Raises Forbidden for one it only sees."""
    authorize(ctx, rule)
    image = find(session, ctx, id_or_name)
    if image.project_id != ctx.project_id and not ctx.is_admin:
        raise Forbidden(f"image {image.name} belongs to another project")
    return image


def usable(session: Session, ctx: Context, id_or_name: str) -> Image:
    """An image whose bytes the caller may have: to make a volume of, or to save. Raises Conflict, Forbidden, NotFound.

    What was deactivated is for those alone who may deactivate.
    """
    image = find(session, ctx, id_or_name)
    if image.status == "deactivated" and not allowed(ctx, "image:deactivate"):
        raise Forbidden(f"image {image.name} is deactivated", hint="An admin has taken it out of use.")
    if image.status not in ("active", "deactivated") or image.digest is None:
        raise Conflict(f"image {image.name} is {image.status} and has no bytes to give")
    return image
