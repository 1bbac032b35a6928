"""Bringing an image's bytes in, and taking them out: the record, the store and the inspectors put together.

    begin ─▶ bytes into the store ─▶ our inspector ─▶ size limit ─▶ qemu-img ─▶ activate
                     │                        └──────────┴────────────┴─▶ kill, bytes removed
                     └─ cut or interrupted: the record stays `saving`, and bringing it again goes on

Someone who repeats a create (same name, format and source) after an interruption gets the same record and goes on with
it, instead of a second one beside the first: see `start`.

Bytes are named by their digest and may be shared by several records, and an instance may outlive its image. They are
removed inside a write transaction that sees that nobody stands on them, and `activate` looks for them inside one, so
that the two can never cross.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy import or_
from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.config import Config
from core.context import Context
from core.errors import Conflict, Invalid, NotFound, SkydeckError
from core.identity.policy import authorize
from core.images import images
from core.images.fetch import fetch_url
from core.images.images import Image
from core.images.inspector import ImageRejected, Inspected, inspect
from core.images.qemu_img import check_with_qemu_img
from core.images.stores import ImageStore, Stored
from core.sql import select
from core.store import Store

Progress = Callable[[int, int | None], None]
"""Called with (bytes done, bytes in all or None when unknown)."""

_OVERHEAD: Final = 64 << 20
"""Bytes a file's own tables may take beyond the disk it describes, and a 64th of the disk besides."""


def source_of(*, path: Path | None = None, url: str | None = None) -> str:
    """How a record names where its bytes come from: an absolute path, or a URL without what may be secret in it.

    Raises Invalid unless exactly one is given.
    """
    if (path is None) == (url is None):
        raise Invalid("an image needs its bytes from one place", hint="Either --file FILE or --url URL.")
    if path is not None:
        return str(path.absolute())
    parts = urlsplit(str(url))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def start(
    session: Session,
    ctx: Context,
    *,
    name: str,
    disk_format: str,
    path: Path | None = None,
    url: str | None = None,
    visibility: str = "private",
    min_disk_gb: int = 0,
    min_ram_mb: int = 0,
    protected: bool = False,
    properties: dict[str, str] | None = None,
) -> Image:
    """The record to bring bytes to: a new one, or the project's interrupted one of this name, format and source.

    Raises NotFound for a file that is not there, and as `images.create`.
    """
    source = source_of(path=path, url=url)
    if path is not None and not path.exists():
        raise NotFound(f"there is no file {path}", hint="Check the path.")
    authorize(ctx, "image:create")
    interrupted = (
        session.execute(
            select(Image)
            .where(
                col(Image.project_id) == ctx.project_id,
                col(Image.name) == name,
                col(Image.disk_format) == disk_format,
                col(Image.source) == source,
                col(Image.status).in_(["queued", "saving"]),
            )
            .order_by(col(Image.created_at))
        )
        .scalars()
        .first()
    )
    if interrupted is not None:
        return interrupted
    return images.create(
        session,
        ctx,
        name=name,
        disk_format=disk_format,
        visibility=visibility,
        min_disk_gb=min_disk_gb,
        min_ram_mb=min_ram_mb,
        protected=protected,
        source=source,
        properties=properties,
    )


def bring(
    store: Store,
    config: Config,
    ctx: Context,
    image_id: str,
    *,
    path: Path | None = None,
    url: str | None = None,
    expected_digest: str | None = None,
    progress: Progress | None = None,
) -> Image:
    """Bring the bytes of a `queued` or `saving` image from a file or a URL, inspect them, and make it active.

    Blocks as long as the bytes take. Raises Invalid (among them ImageRejected) or NotFound when they are refused: the
    image is then killed with the reason. Raises Unavailable or Conflict when it may be tried again: what came is kept.
    """
    source_of(path=path, url=url)
    files = ImageStore(config.images_dir)
    with store.write() as session:
        image = images.begin(session, ctx, image_id)
        limit = images.size_limit(session, ctx.project_id, config.image_size_cap)
    stored: Stored | None = None
    try:
        most = limit + limit // 64 + _OVERHEAD
        if path is not None:
            stored = files.put_file(path, sha256=expected_digest, limit=most, progress=progress)
        else:
            stored = fetch_url(files, str(url), sha256=expected_digest, limit=most, progress=progress)
        inspected = _inspected(stored, declared=image.disk_format, limit=limit)
    except (Invalid, NotFound) as bad:
        _refuse(store, files, ctx, image_id, bad, digest=stored.digest if stored else None)
        raise
    with store.write() as session:
        if not _there(files, stored.digest):
            raise Conflict(f"the bytes of image {image.name} were removed meanwhile", hint="Add the image again.")
        return images.activate(
            session,
            ctx,
            image_id,
            digest=stored.digest,
            size=stored.size,
            virtual_size=inspected.virtual_size,
        )


def remove(store: Store, config: Config, ctx: Context, id_or_name: str) -> Image:
    """Delete an image, and its bytes once nobody stands on them. Raises NotFound, Forbidden.

    Two transactions: a crash between them leaves bytes that the next `sweep` removes, never a record without bytes.
    """
    with store.write() as session:
        image = images.delete(session, ctx, id_or_name)
    sweep(store, config)
    return image


def sweep(store: Store, config: Config) -> int:
    """Remove the bytes of deleted images that no other image and no living instance stands on; how many files."""
    files = ImageStore(config.images_dir)
    with store.write() as session:
        gone = select(Image.digest).where(col(Image.status) == "deleted", col(Image.digest).is_not(None)).distinct()
        free = [digest for digest in session.execute(gone).scalars() if not _needed(session, digest)]
        return sum(files.delete(digest) for digest in free)


def _inspected(stored: Stored, *, declared: str, limit: int) -> Inspected:
    """What the file is. Raises ImageRejected; qemu-img sees it last, and only what may be as large as it says."""
    with stored.path.open("rb") as file:
        inspected = inspect(file, declared=declared)
    if inspected.virtual_size > limit:
        raise ImageRejected(
            f"the image is a disk of {inspected.virtual_size} bytes, the limit is {limit}",
            "use a smaller image, or have an admin raise it: skydeck quota set --image-size BYTES PROJECT",
        )
    check_with_qemu_img(stored.path, inspected)
    return inspected


def _refuse(
    store: Store, files: ImageStore, ctx: Context, image_id: str, bad: SkydeckError, *, digest: str | None
) -> None:
    """Kill the image with the reason, and remove what was brought for it."""
    with store.write() as session:
        if images.find(session, ctx, image_id).status == "saving":
            images.kill(session, ctx, image_id, error=bad.title)
        if digest is not None and not _needed(session, digest):
            files.delete(digest)


def _needed(session: Session, digest: str) -> bool:
    """Whether an image, or a living instance whose image was deleted, stands on these bytes."""
    if images.shared_digest(session, digest):
        return True
    alike = select(Image.id).where(col(Image.digest) == digest)
    made_from = or_(*(col(key).in_(alike) for key in (Instance.image_id, Instance.kernel_id, Instance.ramdisk_id)))
    living = select(Instance.id).where(col(Instance.deleted_at) == 0, made_from).limit(1)
    return session.execute(living).first() is not None


def _there(files: ImageStore, digest: str) -> bool:
    try:
        files.path(digest)
    except NotFound:
        return False
    return True
