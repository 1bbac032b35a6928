"""Members of shared images: projects an owner shows an image to, and what they say to it.

The owner adds and removes; the member alone accepts or rejects (glance/api/v2/image_members.py). Until it has accepted,
the image is in none of its lists, though its id finds it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlmodel import Session, col

from core import events
from core.context import Context
from core.errors import Conflict, Forbidden, Invalid, NotFound, QuotaExceeded
from core.identity.policy import authorize
from core.identity.projects import Project
from core.images import images
from core.images.images import Image
from core.sql import select
from core.store import now
from core.volumes.tables import ImageMember

STATUSES: Final = ("pending", "accepted", "rejected")

MOST: Final = 128
"""Members of one image (glance's image_member_quota)."""


def add(session: Session, ctx: Context, image: str, project: str) -> ImageMember:
    """Show a shared image to a project; it is asked (`pending`). Raises NotFound, Forbidden, Conflict, Invalid."""
    found = images.owned(session, ctx, image, "image:share")
    _check_shared(found)
    place = _project(session, ctx, project)
    if place is None:
        raise NotFound(f"no project {project!r}", hint="Its id has 32 hexadecimal digits.")
    if place == found.project_id:
        raise Invalid(f"image {found.name} is that project's own")
    if session.get(ImageMember, (found.id, place)) is not None:
        raise Conflict(f"project {project} is a member of image {found.name} already")
    if len(_all(session, found.id)) >= MOST:
        raise QuotaExceeded(f"image {found.name} has {MOST} members", hint="Make it community: all may use it then.")
    member = ImageMember(image_id=found.id, project_id=place, created_at=now(session), updated_at=now(session))
    session.add(member)
    session.flush()
    _record(session, ctx, found, "image.add_member", after={"member": place, "status": member.status})
    return member


def remove(session: Session, ctx: Context, image: str, project: str) -> None:
    """Take an image from a member again; servers it made of it keep running. Raises NotFound, Forbidden, Conflict."""
    found = images.owned(session, ctx, image, "image:share")
    _check_shared(found)
    member = _member(session, found, _project(session, ctx, project) or project)
    session.delete(member)
    session.flush()
    _record(session, ctx, found, "image.remove_member", before={"member": member.project_id, "status": member.status})


def set(session: Session, ctx: Context, image: str, *, status: str, project: str | None = None) -> ImageMember:
    """What a member says to an image: accepted, rejected or pending again.

    For the caller's own project; an admin may speak for another. Raises NotFound, Forbidden, Invalid, Conflict.
    """
    authorize(ctx, "image:share")
    if status not in STATUSES:
        raise Invalid(f"unknown status {status!r}", hint=f"One of {', '.join(STATUSES)}.")
    found = images.find(session, ctx, image)
    speaks_for = ctx.project_id if project is None else _project(session, ctx, project) or project
    if speaks_for != ctx.project_id and not ctx.is_admin:
        raise Forbidden("a member answers for itself", hint="Leave the project out.")
    _check_shared(found)
    member = _member(session, found, speaks_for)
    before = member.status
    member.status, member.updated_at = status, now(session)
    session.flush()
    _record(
        session,
        ctx,
        found,
        "image.set_member",
        before={"status": before},
        after={"member": speaks_for, "status": status},
    )
    return member


def listing(session: Session, ctx: Context, image: str) -> list[ImageMember]:
    """The members, as the owner sees them; a member sees itself alone. Raises NotFound, Conflict."""
    found = images.find(session, ctx, image)
    _check_shared(found)
    members = _all(session, found.id)
    if found.project_id == ctx.project_id or ctx.is_admin:
        return members
    return [member for member in members if member.project_id == ctx.project_id]


def offered(session: Session, ctx: Context, *, status: str = "pending") -> list[Image]:
    """Images of others that the caller's project is a member of, by what it said to them. Raises Invalid."""
    authorize(ctx, "image:list")
    if status not in STATUSES:
        raise Invalid(f"unknown status {status!r}", hint=f"One of {', '.join(STATUSES)}.")
    query = (
        select(Image)
        .where(
            col(ImageMember.project_id) == ctx.project_id,
            col(ImageMember.status) == status,
            col(Image.id) == col(ImageMember.image_id),
            col(Image.visibility) == "shared",
            col(Image.status) != "deleted",
        )
        .order_by(col(Image.name), col(Image.id))
    )
    return list(session.execute(query).scalars())


def _check_shared(image: Image) -> None:
    if image.visibility != "shared":
        raise Conflict(
            f"image {image.name} is {image.visibility}: it has no members",
            hint=f"skydeck image set --shared {image.name}",
        )


def _all(session: Session, image_id: str) -> list[ImageMember]:
    query = select(ImageMember).where(col(ImageMember.image_id) == image_id).order_by(col(ImageMember.created_at))
    return list(session.execute(query).scalars())


def _member(session: Session, image: Image, project_id: str) -> ImageMember:
    member = session.get(ImageMember, (image.id, project_id))
    if member is None:
        raise NotFound(f"project {project_id} is no member of image {image.name}", hint="skydeck image member list")
    return member


def _project(session: Session, ctx: Context, id_or_name: str) -> str | None:
    """Its id, if there is one. Names are told to admins alone: which projects exist is nobody else's business."""
    wanted = col(Project.id) == id_or_name
    if ctx.is_admin:
        wanted |= col(Project.name) == id_or_name
    return session.execute(select(Project.id).where(wanted)).scalars().first()


def _record(session: Session, ctx: Context, image: Image, action: str, **changes: Any) -> None:
    events.record(
        session, ctx, action, kind="image", id=image.id, name=image.name, project_id=image.project_id, **changes
    )
