"""volume.upload, instance.create_image: a disk that a host has becomes an image of the controller's.

    freeze    a snapshot of a volume in use, an export of a server's disk: the disk as it is at one moment
    read      its contents into a raw file of the controller
    thaw      the snapshot or export deleted
    convert   the raw file into an image file, which is inspected like one that a stranger brought
    keep      into its store, and the image active

Whatever fails, or is cancelled, the image is killed with the reason, and nothing is left on the host or here. Of a
server that boots from a volume there is nothing to read: its image names snapshots of its volumes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from sqlmodel import Session

from core import cloud
from core.compute.instances import states
from core.errors import Failed, Unavailable
from core.hosts.bulk import Extent, save_extents
from core.images import convert, images, intake, unpack
from core.images.images import Image
from core.images.inspector import Inspected
from core.images.stores import ImageStore, Stored, Stores
from core.operations.kinds import parts, storage
from core.operations.work import Kind, Step, Work
from core.volumes import placement
from core.volumes import wire as volume_wire
from core.volumes.tables import Volume
from hostd.spec import Apply, DiskFormat, ExportSpec, ObjectKind, Read, Want, dump

_ROOM_EVERY: Final = 256 << 20
"""Bytes between two looks at the room that is left."""

_MADE, _GONE = 1, 2
"""Generations of an export: it is made, read, and gone."""


# ---------------------------------------------------------------------------- common to both


def _image(session: Session, work: Work) -> Image:
    return session.get_one(Image, str(work.operation.args["image"]), populate_existing=True)


def _files(work: Work) -> ImageStore:
    return ImageStore(work.config.images_dir)


def _raw(work: Work) -> Path:
    return _files(work).scratch(f"raw-{work.operation.id}")


def _made(work: Work) -> Path:
    return _files(work).scratch(f"made-{work.operation.id}")


async def _clear(work: Work) -> None:
    """No file of this operation is left."""
    for path in (_raw(work), _made(work)):
        path.unlink(missing_ok=True)


async def _save(work: Work, host_id: str, asked: Read) -> None:
    def told(done: int, total: int) -> None:
        work.report(100 * done // (total or 1))

    async with work.hosts.get(host_id).read(asked) as (reading, extents):
        await save_extents(_raw(work), reading, _roomy(extents, _raw(work).parent), told)


async def _roomy(extents: AsyncIterator[Extent], directory: Path) -> AsyncIterator[Extent]:
    """The same, ended with Failed before the controller's disk is full."""
    since = _ROOM_EVERY
    async for extent in extents:
        since += 0 if extent.data is None else extent.length
        if since >= _ROOM_EVERY:
            since = 0
            try:
                unpack.check_room(directory)
            except Unavailable as full:
                raise Failed(f"no room for the image in {directory}", hint=full.hint) from full
        yield extent


async def _convert(work: Work) -> None:
    """The raw file into the image's format; then what every image goes through."""

    def read(session: Session) -> tuple[str, int]:
        image = _image(session, work)
        return image.disk_format, images.size_limit(session, image.project_id, work.config.image_size_cap)

    disk_format, limit = await work.read(read)
    most = intake.most_bytes(limit)
    if disk_format != DiskFormat.RAW:
        await convert.convert(
            _raw(work),
            _made(work),
            disk_format=disk_format,
            limit=most,
            progress=lambda done: work.report(done * 9 // 10),
        )
    elif _raw(work).exists():
        _raw(work).rename(_made(work))
    stored, found = await asyncio.to_thread(_judged, work, disk_format, limit)
    work.note(stored={"digest": stored.digest, "size": stored.size, "virtual_size": found.virtual_size})


def _judged(work: Work, disk_format: str, limit: int) -> tuple[Stored, Inspected]:
    path = _made(work)
    stored = Stored(digest=ImageStore.digest_of(path), size=path.stat().st_size, path=path)
    path.chmod(0o444)
    return stored, intake.inspected(stored, declared=disk_format, limit=limit)


async def _keep(work: Work) -> None:
    noted = work.data["stored"]
    stores = Stores(work.config)
    _raw(work).unlink(missing_ok=True)
    image = await work.read(lambda session: _image(session, work))
    if image.status == "active":
        return  # a crash came between this and its end
    stored = await asyncio.to_thread(stores.files.place, _made(work), str(noted["digest"]))
    found = Inspected(format=image.wire_format, virtual_size=int(noted["virtual_size"]), size=stored.size)

    def finish(session: Session) -> None:
        row = _image(session, work)
        intake.finish(session, stores, cloud.system_context(session), row, stored, found)

    async with _steady(stores, image.store):
        await asyncio.to_thread(stores.keep, stored, image.store)
        await work.write(finish)


@contextlib.asynccontextmanager
async def _steady(stores: Stores, store: str) -> AsyncIterator[None]:
    held = stores.steady(store)
    await asyncio.to_thread(held.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(held.__exit__, None, None, None)


async def _unkeep(work: Work) -> None:
    """The bytes that were brought in vain, unless somebody stands on them."""
    noted = work.data.get("stored")
    if noted is None:
        return

    def drop(session: Session) -> None:
        if not intake.needed(session, str(noted["digest"]), "file"):
            _files(work).delete(str(noted["digest"]))

    await work.write(drop)


def _kill(session: Session, work: Work, reason: str) -> None:
    image = session.get(Image, str(work.operation.args["image"]), populate_existing=True)
    if image is not None and image.status in ("queued", "saving"):
        images.kill(session, cloud.system_context(session), image.id, error=reason)


_CANCELLED: Final = {"type": "Cancelled", "title": "the operation was cancelled", "hint": "Ask for it again."}


# ---------------------------------------------------------------------------- volume.upload


def _volume(session: Session, work: Work) -> Volume:
    return session.get_one(Volume, work.operation.object_id, populate_existing=True)


async def _freeze_volume(work: Work) -> None:
    if snapshot := work.operation.args.get("snapshot"):
        await storage.make_snapshot(work, str(snapshot))


async def _thaw_volume(work: Work) -> None:
    if snapshot := work.operation.args.get("snapshot"):
        await storage.drop_snapshot(work, str(snapshot))


async def _read_volume(work: Work) -> None:
    def where(session: Session) -> tuple[str, Read]:
        volume = _volume(session, work)
        snapshot = work.operation.args.get("snapshot")
        asked = Read(
            subject="snapshot" if snapshot else "volume",
            uuid=str(snapshot or volume.id),
            volume=volume.id if snapshot else None,
            backend=volume_wire.volume(session, volume).backend,
        )
        return placement.actor(session, volume), asked

    await _save(work, *await work.read(where))


def _uploaded(session: Session, work: Work) -> None:
    storage.rest(session, work.operation.object_id)


def _upload_failed(session: Session, work: Work, error: dict[str, Any]) -> None:
    _kill(session, work, str(error.get("title", "")))
    storage.rest(session, work.operation.object_id, fault={**error, "operation": work.operation.id})


UPLOAD = Kind(
    steps=(
        Step(name="freeze", run=_freeze_volume, undo=_thaw_volume),
        Step(name="read", run=_read_volume, undo=_clear, weight=6, interruptible=True),
        Step(name="thaw", run=_thaw_volume),
        Step(name="convert", run=_convert, undo=_clear, weight=4, interruptible=True),
        Step(name="keep", run=_keep, undo=_unkeep),
    ),
    complete=_uploaded,
    failed=_upload_failed,
    cancelled=lambda session, work: _upload_failed(session, work, _CANCELLED),
)


# ---------------------------------------------------------------------------- instance.create_image


def _mapping_only(work: Work) -> bool:
    return bool(work.operation.args.get("snapshots"))


async def _tell_export(work: Work, want: Want) -> None:
    def where(session: Session) -> str | None:
        return parts.instance_of(session, work).host_id

    host_id = work.data.get("host") or await work.read(where)
    if host_id is None:
        raise Failed("the server is on no host", hint="Look at its events.")
    if "host" not in work.data:
        work.note(host=host_id)
        await work.write(lambda session: None)
    spec = ExportSpec(
        uuid=str(work.operation.args["image"]),
        want=want,
        instance=work.operation.object_id,
        quiesce=bool(work.operation.args.get("quiesce")),
    )
    body = Apply(
        kind=ObjectKind.EXPORT,
        uuid=spec.uuid,
        generation=_MADE if want is Want.PRESENT else _GONE,
        spec=dump(spec),
    )
    applied = await work.hosts.get(str(host_id)).call("apply", body, deadline=storage.COPY)
    if want is Want.PRESENT:
        work.note(quiesced=applied.detail.get("quiesced"))


async def _freeze_instance(work: Work) -> None:
    if not _mapping_only(work):
        await _tell_export(work, Want.PRESENT)
        return
    for snapshot in work.operation.args["snapshots"]:
        await storage.make_snapshot(work, str(snapshot), quiesce=bool(work.operation.args.get("quiesce")))


async def _unfreeze_instance(work: Work) -> None:
    if not _mapping_only(work):
        if "host" in work.data:
            await _tell_export(work, Want.ABSENT)
        return
    for snapshot in reversed(work.operation.args["snapshots"]):
        await storage.drop_snapshot(work, str(snapshot))


async def _read_instance(work: Work) -> None:
    if not _mapping_only(work):
        await _save(work, str(work.data["host"]), Read(subject="export", uuid=str(work.operation.args["image"])))


async def _thaw_instance(work: Work) -> None:
    """The snapshots of a server that boots from a volume stay: the image stands on them."""
    if not _mapping_only(work):
        await _tell_export(work, Want.ABSENT)


async def _convert_instance(work: Work) -> None:
    if not _mapping_only(work):
        await _convert(work)


async def _keep_instance(work: Work) -> None:
    if not _mapping_only(work):
        await _keep(work)
        return

    def activate(session: Session) -> None:
        image = _image(session, work)
        if image.status != "active":
            images.activate(session, cloud.system_context(session), image.id, digest=None, size=0, virtual_size=0)

    await work.write(activate)


def _show(session: Session, work: Work, step: Step) -> None:
    instance = parts.instance_of(session, work)
    if step.task is not None and instance.want != "absent":
        instance.task_state = step.task
        session.flush()


def _over(session: Session, work: Work) -> None:
    instance = parts.instance_of(session, work)
    parts.settle(session, instance, vm_state=instance.vm_state)


def _snapshot_failed(session: Session, work: Work, error: dict[str, Any]) -> None:
    _kill(session, work, str(error.get("title", "")))
    _over(session, work)


CREATE_IMAGE = Kind(
    steps=(
        Step(name="freeze", run=_freeze_instance, undo=_unfreeze_instance, task=states.IMAGE_SNAPSHOT, weight=3),
        Step(
            name="read",
            run=_read_instance,
            undo=_clear,
            task=states.IMAGE_PENDING_UPLOAD,
            weight=4,
            interruptible=True,
        ),
        Step(name="thaw", run=_thaw_instance, task=states.IMAGE_PENDING_UPLOAD),
        Step(
            name="convert",
            run=_convert_instance,
            undo=_clear,
            task=states.IMAGE_UPLOADING,
            weight=4,
            interruptible=True,
        ),
        Step(name="keep", run=_keep_instance, undo=_unkeep, task=states.IMAGE_UPLOADING),
    ),
    complete=_over,
    failed=_snapshot_failed,
    cancelled=lambda session, work: _snapshot_failed(session, work, _CANCELLED),
    show=_show,
)
