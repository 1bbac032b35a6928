"""Bringing an image's bytes in, and taking them out: the record, the stores and the inspectors put together.

    begin ─▶ bytes into the store ─▶ unpacked ─▶ our inspector ─▶ size limit ─▶ qemu-img ─▶ activate
                     │                  └──────────┴──────────────┴─▶ kill, bytes removed
                     └─ cut or interrupted: the record stays `saving`, and bringing it again goes on

Someone who repeats a create (same name, format and source) after an interruption gets the same record and goes on with
it, instead of a second one beside the first: see `start`.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit, urlunsplit

from sqlmodel import Session, col

from core.config import Config
from core.context import Context
from core.errors import Conflict, Invalid, NotFound, SkydeckError, Unavailable
from core.identity.policy import allowed, authorize
from core.images import images, intake, reach
from core.images.catalog import Entry
from core.images.fetch import fetch_url
from core.images.images import Image
from core.images.stores import CHUNK, FILE, Progress, Stored, Stores
from core.sql import select
from core.store import Store

FORGOTTEN: Final = 24 * 3600
"""Seconds after which bytes that no record names are nobody's (glance's stall time)."""


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
    disk_format: str = "",
    path: Path | None = None,
    url: str | None = None,
    entry: Entry | None = None,
    visibility: str = "private",
    min_disk_gb: int = 0,
    min_ram_mb: int = 0,
    protected: bool = False,
    hidden: bool = False,
    store: str = FILE,
    properties: dict[str, str] | None = None,
) -> Image:
    """The record to bring bytes to: a new one, or the project's interrupted one of this name, format and source.

    `entry` of the catalog says where the bytes are, and what was left out here. `store` is where they shall be.
    Raises NotFound for a file that is not there, and as `images.create`.
    """
    if entry is not None:
        if path is not None or url is not None:
            raise Invalid("an image needs its bytes from one place", hint="Either the catalog, a file or a URL.")
        url, disk_format = entry.url, disk_format or entry.disk_format
        min_disk_gb, min_ram_mb = max(min_disk_gb, entry.min_disk_gb), max(min_ram_mb, entry.min_ram_mb)
        properties = {**entry.properties, **(properties or {})}
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
        hidden=hidden,
        store=store,
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
    entry: Entry | None = None,
    expected_digest: str | None = None,
    progress: Progress | None = None,
) -> Image:
    """Bring the bytes of a `queued` or `saving` image from a file, a URL or the catalog's place, inspect them, and make
    it active.

    `expected_digest` is what they must hash to (sha256 or sha512), or the URL of a list of such; of the catalog it need
    not be said. Blocks as long as the bytes take. Raises Invalid (among them ImageRejected), Forbidden or NotFound when
    they are refused: the image is then killed with the reason. Raises Unavailable or Conflict when it may be tried
    again: what came is kept.
    """
    if entry is not None:
        url, expected_digest = entry.url, expected_digest or entry.checksum
    source = source_of(path=path, url=url)
    stores = Stores(config)
    with store.write() as session:
        image = images.begin(session, ctx, image_id)
        # New records do not know the configuration; whoever brings the bytes does.
        image.store = stores.default if image.store == FILE else stores.check(image.store)
        image.source = image.source or source
        limit = images.size_limit(session, image.project_id, config.image_size_cap)
    brought: list[Stored] = []
    try:
        most = intake.most_bytes(limit)
        if path is not None:
            brought.append(stores.files.put_file(path, sha256=expected_digest, limit=most, progress=progress))
        else:
            brought.append(
                fetch_url(
                    stores.files,
                    str(url),
                    reach=reach.of(config),
                    checksum=expected_digest,
                    limit=most,
                    seconds=config.image_import_seconds,
                    files=allowed(ctx, "image:import_file"),
                    progress=progress,
                )
            )
        brought.append(intake.unpacked(stores.files, brought[0], declared=image.disk_format, limit=most))
        found = intake.inspected(brought[-1], declared=image.disk_format, limit=limit)
    except (Unavailable, Conflict):
        for one in brought:
            intake.drop(store, stores.files, one.digest)
        raise
    except SkydeckError as bad:
        with store.write() as session:
            if images.find(session, ctx, image_id).status == "saving":
                images.kill(session, ctx, image_id, error=bad.title)
        for one in brought:
            intake.drop(store, stores.files, one.digest)
        raise
    active = intake.activate(store, stores, ctx, image, brought[-1], found, progress=None)
    if brought[0].digest != brought[-1].digest:
        intake.drop(store, stores.files, brought[0].digest)
    return active


def save(
    store: Store,
    config: Config,
    ctx: Context,
    id_or_name: str,
    *,
    path: Path | None = None,
    progress: Progress | None = None,
) -> Image:
    """Write an image's bytes to a file, or to standard output. Raises NotFound, Forbidden, Conflict, Unavailable.

    A file that is there already is refused, and one that was cut short is not left.
    """
    with store.read() as session:
        image = images.usable(session, ctx, id_or_name)
    assert image.digest is not None  # usable
    source = Stores(config).path(image.digest)
    with source.open("rb") as file:
        if path is None:
            _copy(file, sys.stdout.buffer, total=image.size, progress=progress)
            return image
        try:
            target = path.open("xb")
        except FileExistsError as bad:
            raise Conflict(f"there is a file {path}", hint="Name another one.") from bad
        except OSError as bad:
            raise Invalid(f"{path} cannot be written: {bad.strerror}") from bad
        try:
            with target:
                _copy(file, target, total=image.size, progress=progress)
        except BaseException as bad:
            path.unlink(missing_ok=True)
            if isinstance(bad, OSError):
                raise Unavailable(f"{path} cannot be written: {bad.strerror}", hint="Is there room for it?") from bad
            raise
    return image


def _copy(source: BinaryIO, target: BinaryIO, *, total: int | None, progress: Progress | None) -> None:
    done = 0
    while chunk := source.read(CHUNK):
        target.write(chunk)
        done += len(chunk)
        if progress is not None:
            progress(done, total)
    target.flush()


def remove(store: Store, config: Config, ctx: Context, id_or_name: str) -> Image:
    """Delete an image, and its bytes once nobody stands on them. Raises NotFound, Forbidden, Conflict.

    Two transactions: a crash between them leaves bytes that the next `sweep` removes, never a record without bytes.
    """
    with store.write() as session:
        image = images.delete(session, ctx, id_or_name)
    sweep(store, config)
    return image


def sweep(store: Store, config: Config) -> int:
    """Remove the bytes of deleted images that no other image and no living instance stands on, and files of nobody's;
    how many."""
    stores = Stores(config)
    removed = 0
    with store.read() as session:
        query = select(Image.digest, Image.store).where(col(Image.digest).is_not(None))
        gone = {
            (str(digest), str(where)) for digest, where in session.execute(query.where(col(Image.status) == "deleted"))
        }
        every = {digest for digest, _ in session.execute(query)}
    at = time.time() - FORGOTTEN
    nobodys = {(digest, FILE) for digest in stores.files.digests(before=at) if digest not in every}
    for digest, where in sorted({*gone, *nobodys}):
        # A store that was taken out of the configuration, or does not answer, keeps what it has for the next round.
        with contextlib.suppress(Unavailable, Invalid), stores.steady(where, alone=True):
            with store.write() as session:
                free = not intake.needed(session, digest, where)
                if free and where == FILE:
                    removed += stores.files.delete(digest)
            if free and where != FILE:
                removed += stores.delete(digest, where)
    stores.files.remove_stale(before=at)
    return removed
