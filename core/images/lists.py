"""How images are listed, their members, and what hosts hold of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, String, func, literal
from sqlalchemy.orm import aliased
from sqlmodel import col

from core.context import Context
from core.hosts.table import Host
from core.identity.projects import Project
from core.images.images import Image, listed, visible
from core.listing import Listing, of_project
from core.sql import select
from core.volumes.tables import CachedImageRow, ImageMember

_members = select(func.count()).where(col(ImageMember.image_id) == col(Image.id)).correlate(Image).scalar_subquery()

IMAGES = Listing(
    kind="image",
    rule="image:list",
    columns={
        "id": col(Image.id),
        "name": col(Image.name),
        "status": col(Image.status),
        "disk_format": col(Image.disk_format),
        "size": col(Image.size),
        "virtual_size": col(Image.virtual_size),
        "visibility": col(Image.visibility),
        "protected": col(Image.protected),
        "hidden": col(Image.hidden),
        "members": _members,
        "store": col(Image.store),
        "digest": col(Image.digest),
        "min_disk_gb": col(Image.min_disk_gb),
        "min_ram_mb": col(Image.min_ram_mb),
        "properties": col(Image.properties),
        "instance_id": col(Image.instance_id),
        "source": col(Image.source),
        "error": col(Image.error),
        "project": col(Project.name),
        "project_id": col(Image.project_id),
        "created_at": col(Image.created_at),
    },
    source=of_project(Image),
    scope=visible,
    shown=listed,
    search=("name", "id"),
)

_member_project = aliased(Project)
_owner = aliased(Project)


def _members_source(query: Select[Any]) -> Select[Any]:
    return (
        query.select_from(ImageMember)
        .outerjoin(Image, col(Image.id) == col(ImageMember.image_id))
        .outerjoin(_member_project, col(_member_project.id) == col(ImageMember.project_id))
        .outerjoin(_owner, col(_owner.id) == col(Image.project_id))
    )


def _members_scope(ctx: Context) -> Any:
    """An owner sees all members of its images, a member sees itself."""
    shared = (col(Image.status) != "deleted") & (col(Image.visibility) == "shared")
    if ctx.all_projects:
        return shared
    return shared & ((col(Image.project_id) == ctx.project_id) | (col(ImageMember.project_id) == ctx.project_id))


MEMBERS = Listing(
    kind="image_member",
    rule="image:list",
    columns={
        "id": col(ImageMember.image_id) + literal("/", String) + col(ImageMember.project_id),
        "image_id": col(ImageMember.image_id),
        "image": func.coalesce(col(Image.name), ""),
        "owner": func.coalesce(col(_owner.name), ""),
        "member_id": col(ImageMember.project_id),
        "member": func.coalesce(col(_member_project.name), ""),
        "status": col(ImageMember.status),
        "created_at": col(ImageMember.created_at),
        "updated_at": col(ImageMember.updated_at),
    },
    source=_members_source,
    scope=_members_scope,
    name="image",
    search=("image", "member", "member_id"),
    sort="image,member",
)

_named = (
    select(func.min(Image.name))
    .where(col(Image.digest) == col(CachedImageRow.digest), col(Image.status) != "deleted")
    .correlate(CachedImageRow)
    .scalar_subquery()
)
_image_id = (
    select(func.min(Image.id))
    .where(col(Image.digest) == col(CachedImageRow.digest), col(Image.status) != "deleted")
    .correlate(CachedImageRow)
    .scalar_subquery()
)

CACHED = Listing(
    kind="cached_image",
    rule="image:cache",
    columns={
        "id": col(CachedImageRow.host_id) + literal("/", String) + col(CachedImageRow.digest),
        "host_id": col(CachedImageRow.host_id),
        "host": func.coalesce(col(Host.name), ""),
        "image": func.coalesce(_named, ""),
        "image_id": func.coalesce(_image_id, ""),
        "digest": col(CachedImageRow.digest),
        "size": col(CachedImageRow.size),
        "present": col(CachedImageRow.present),
        "refs": col(CachedImageRow.refs),
        "pinned": col(CachedImageRow.pinned),
        "seen_at": col(CachedImageRow.seen_at),
    },
    source=lambda query: query.select_from(CachedImageRow).outerjoin(Host, col(Host.id) == col(CachedImageRow.host_id)),
    scope=lambda ctx: True,
    name="image",
    search=("image", "host", "digest"),
    sort="host,image",
)

LISTINGS = (IMAGES, MEMBERS, CACHED)
