"""From bytes on the controller to an active image: unpacked, inspected, compared with qemu-img's view, kept, active.

Every way in ends here: a file, a URL, a volume, a server's disk. What was made on the controller from a tenant's disk
is inspected like what a stranger brought.

Bytes are named by their digest and may be shared by several records, and an instance may outlive its image. They are
removed inside a write transaction that sees that nobody stands on them, and `activate` looks for them inside one, so
that the two can never cross.
"""

from __future__ import annotations

import secrets
from typing import Final

from sqlalchemy import or_
from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.context import Context
from core.errors import Conflict
from core.images import images, unpack
from core.images.images import Image
from core.images.inspector import ImageRejected, Inspected, inspect
from core.images.qemu_img import check_with_qemu_img
from core.images.stores import FILE, ImageStore, Progress, Stored, Stores, check_limit
from core.sql import select
from core.store import Store
from core.volumes.tables import Volume

OVERHEAD: Final = 64 << 20
"""Bytes a file's own tables may take beyond the disk it describes, and a 64th of the disk besides."""

_BEING_MADE: Final = ("creating", "downloading")
"""States of a volume that is filled from an image."""


def most_bytes(limit: int) -> int:
    """The largest file that a disk of `limit` bytes is taken in as."""
    return limit + limit // 64 + OVERHEAD


def unpacked(files: ImageStore, stored: Stored, *, declared: str, limit: int) -> Stored:
    """The image itself when it came compressed, in at most `limit` bytes; else what came. What came is left.

    Kernels and ramdisks are as they are: they come compressed to a guest. Raises Invalid, Unavailable.
    """
    kind = None if declared in ("aki", "ari") else unpack.kind_of(stored.path)
    if kind is None:
        return stored
    with files.partial(f"unpack-{secrets.token_hex(8)}") as partial, stored.path.open("rb") as file:
        try:
            for piece in unpack.unpacked(file, kind):
                check_limit(partial.size + len(piece), limit)
                partial.write(piece)
                if partial.size % (64 << 20) < len(piece):
                    unpack.check_room(stored.path.parent)
            return partial.commit()
        except BaseException:
            partial.discard()
            raise


def inspected(stored: Stored, *, declared: str, limit: int) -> Inspected:
    """What the file is. Raises ImageRejected; qemu-img sees it last, and only what may be as large as it says."""
    with stored.path.open("rb") as file:
        found = inspect(file, declared=declared)
    if found.virtual_size > limit:
        raise ImageRejected(
            f"the image is a disk of {found.virtual_size} bytes, the limit is {limit}",
            "use a smaller image, or have an admin raise it: skydeck quota set --image-size BYTES PROJECT",
        )
    check_with_qemu_img(stored.path, found)
    return found


def activate(
    store: Store,
    stores: Stores,
    ctx: Context,
    image: Image,
    stored: Stored,
    found: Inspected,
    *,
    progress: Progress | None = None,
) -> Image:
    """Keep inspected bytes in the image's store, and make it active. Raises Conflict, Unavailable."""
    with stores.steady(image.store):
        stores.keep(stored, image.store, progress=progress)
        with store.write() as session:
            return finish(session, stores, ctx, image, stored, found)


def finish(session: Session, stores: Stores, ctx: Context, image: Image, stored: Stored, found: Inspected) -> Image:
    """The end of `activate`, in a transaction of the caller's, while the store is `steady`."""
    if image.store == FILE and not stores.files.holds(stored.digest):
        raise Conflict(f"the bytes of image {image.name} were removed meanwhile", hint="Add the image again.")
    active = images.activate(
        session, ctx, image.id, digest=stored.digest, size=stored.size, virtual_size=found.virtual_size
    )
    session.flush()
    if image.store != FILE and not needed(session, stored.digest, FILE):
        stores.files.delete(stored.digest)
    return active


def drop(store: Store, files: ImageStore, digest: str) -> None:
    """Remove bytes that were brought in vain, unless somebody stands on them."""
    with store.write() as session:
        if not needed(session, digest, FILE):
            files.delete(digest)


def needed(session: Session, digest: str, where: str) -> bool:
    """Whether an image, or what is or was made of one that is deleted, stands on these bytes in that store."""
    alike = select(Image.id).where(col(Image.digest) == digest, col(Image.store) == where)
    if session.execute(alike.where(col(Image.status) != "deleted").limit(1)).first() is not None:
        return True
    made_from = or_(*(col(key).in_(alike) for key in (Instance.image_id, Instance.kernel_id, Instance.ramdisk_id)))
    living = select(Instance.id).where(col(Instance.deleted_at) == 0, made_from).limit(1)
    filling = (
        select(Volume.id)
        .where(
            col(Volume.deleted_at) == 0,
            col(Volume.status).in_(_BEING_MADE),
            col(Volume.source_kind) == "image",
            col(Volume.source_id).in_(alike),
        )
        .limit(1)
    )
    return session.execute(living).first() is not None or session.execute(filling).first() is not None
