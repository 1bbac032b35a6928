"""What hosts hold of images: seen, brought ahead of time, pinned there, and pruned.

A row stands for one image on one host. Observations keep it current; a pin is the operator's word that the image shall
stay, and outlives the image's going from that host: it is then brought again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlmodel import Session, col

from core import cloud, events
from core.context import Context
from core.errors import NotFound
from core.hosts import hosts as host_nouns
from core.hosts.table import Host
from core.identity.policy import authorize
from core.images import images
from core.images.images import Image
from core.operations import operations
from core.operations.operations import Operation
from core.sql import select
from core.store import now
from core.volumes.tables import CachedImageRow
from hostd.spec import CachedImage


def prefetch(session: Session, ctx: Context, image: str, *, hosts: Iterable[str] = ()) -> list[Operation]:
    """Bring an image to hosts (all that are enabled, when none is named) before anybody launches from it.

    One operation for each host that does not hold it yet. Raises NotFound, Forbidden, Conflict when it has no bytes.
    """
    authorize(ctx, "image:cache")
    found = images.usable(session, ctx, image)
    asked = [
        _bring(session, ctx, found, host)
        for host in _hosts(session, ctx, hosts)
        if not ((row := _row(session, host.id, found)) and row.present)
    ]
    return [operation for operation in asked if operation is not None]


def pin(session: Session, ctx: Context, image: str, *, hosts: Iterable[str] = ()) -> list[Operation]:
    """Keep an image on hosts (all, when none is named) whatever is pruned; where it is missing it is brought.

    Raises NotFound, Forbidden, Conflict when it has no bytes.
    """
    authorize(ctx, "image:cache")
    found = images.usable(session, ctx, image)
    named = tuple(hosts)
    for host in _hosts(session, ctx, named):
        row = _row(session, host.id, found)
        if row is None:
            row = CachedImageRow(host_id=host.id, digest=str(found.digest), size=found.size or 0, seen_at=now(session))
            session.add(row)
        if not row.pinned:
            row.pinned = True
            _record(session, ctx, found, host, "image.pin")
    session.flush()
    return prefetch(session, ctx, found.id, hosts=named)


def unpin(session: Session, ctx: Context, image: str, *, hosts: Iterable[str] = ()) -> None:
    """Let an image be pruned again on hosts (all, when none is named). Raises NotFound, Forbidden."""
    authorize(ctx, "image:cache")
    found = images.find(session, ctx, image)
    for host in _hosts(session, ctx, hosts):
        row = _row(session, host.id, found)
        if row is not None and row.pinned:
            row.pinned = False
            _record(session, ctx, found, host, "image.unpin")
            if not row.present:
                session.delete(row)
    session.flush()


def prune(session: Session, ctx: Context, host: str) -> Operation:
    """Remove from a host every image that no instance stands on and that is not pinned. Raises NotFound, Forbidden."""
    authorize(ctx, "image:cache")
    found = host_nouns.find(session, ctx, host)
    for operation in operations.open_on(session, f"{found.id}/images"):
        return operation
    operation = operations.enqueue(
        session,
        ctx,
        "host.prune_images",
        object_kind="host",
        # Not the host itself: what is done to it meanwhile need not wait.
        object_id=f"{found.id}/images",
        object_name=found.name,
        project_id=ctx.project_id,
        lane=found.id,
    )
    events.record(session, ctx, "host.prune_images", kind="host", id=found.id, name=found.name)
    return operation


def pinned(session: Session, host_id: str) -> tuple[str, ...]:
    """Digests that stay on a host."""
    query = select(CachedImageRow.digest).where(col(CachedImageRow.host_id) == host_id, col(CachedImageRow.pinned))
    return tuple(session.execute(query.order_by(col(CachedImageRow.digest))).scalars())


def observed(session: Session, host_id: str, seen: Sequence[CachedImage]) -> None:
    """Take in what a host's cache holds. A pinned image that is missing there is asked for again."""
    rows = {
        row.digest: row
        for row in session.execute(
            select(CachedImageRow)
            .where(col(CachedImageRow.host_id) == host_id)
            .execution_options(populate_existing=True)
        ).scalars()
    }
    at = now(session)
    # What is on its way in is listed as well, after what is complete.
    there = {image.digest: image for image in reversed(seen)}
    for digest, image in there.items():
        row = rows.get(digest)
        if row is None:
            row = CachedImageRow(host_id=host_id, digest=digest, seen_at=at)
            session.add(row)
        row.size, row.present, row.refs, row.seen_at = image.size, image.verified, image.refs, at
    for digest, row in rows.items():
        if digest in there:
            continue
        row.present, row.refs = False, 0
        if not row.pinned:
            session.delete(row)
    session.flush()
    _bring_pinned(session, host_id)


def arrived(session: Session, host_id: str, digest: str, size: int) -> None:
    """An image was carried to a host."""
    row = session.get(CachedImageRow, (host_id, digest), populate_existing=True)
    if row is None:
        row = CachedImageRow(host_id=host_id, digest=digest, seen_at=now(session))
        session.add(row)
    row.size, row.present, row.seen_at = size, True, now(session)
    session.flush()


def _bring_pinned(session: Session, host_id: str) -> None:
    missing = select(CachedImageRow).where(
        col(CachedImageRow.host_id) == host_id, col(CachedImageRow.pinned), col(CachedImageRow.present).is_(False)
    )
    for row in session.execute(missing).scalars():
        image = session.execute(
            select(Image).where(col(Image.digest) == row.digest, col(Image.status) == "active").limit(1)
        ).scalar_one_or_none()
        host = session.get(Host, host_id)
        if image is not None and host is not None:
            _bring(session, cloud.system_context(session), image, host)


def _bring(session: Session, ctx: Context, image: Image, host: Host) -> Operation | None:
    """None when it is on its way already."""
    assert image.digest is not None
    key = f"{host.id}/{image.digest}"
    if operations.open_on(session, key):
        return None
    operation = operations.enqueue(
        session,
        ctx,
        "image.prefetch",
        object_kind="cached_image",
        object_id=key,
        object_name=f"{image.name} on {host.name}",
        project_id=ctx.project_id,
        lane=host.id,
        args={"image": image.id, "digest": image.digest, "size": image.size, "host": host.id},
    )
    _record(session, ctx, image, host, "image.prefetch")
    return operation


def _hosts(session: Session, ctx: Context, named: Iterable[str]) -> list[Host]:
    found = [host_nouns.find(session, ctx, name) for name in dict.fromkeys(named)]
    if found:
        return found
    every = list(session.execute(select(Host).where(col(Host.enabled)).order_by(col(Host.name))).scalars())
    if not every:
        raise NotFound("there is no enabled host", hint="skydeck host list")
    return every


def _row(session: Session, host_id: str, image: Image) -> CachedImageRow | None:
    return None if image.digest is None else session.get(CachedImageRow, (host_id, image.digest))


def _record(session: Session, ctx: Context, image: Image, host: Host, action: str) -> None:
    after = {"host": host.name}
    events.record(
        session, ctx, action, kind="image", id=image.id, name=image.name, project_id=image.project_id, after=after
    )
