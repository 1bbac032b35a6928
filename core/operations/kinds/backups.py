"""backup.create, restore, verify, delete: contents of volumes from their hosts into a repository, and back.

A backup that fails has left nothing but chunks that nobody names, and those are swept; the one before it is untouched.
A restore that fails leaves its volume in error_restoring; the backup is what it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import attrs
from sqlmodel import Session, col

from core import cloud
from core.errors import Failed, HostFailed
from core.operations.kinds import storage
from core.operations.meter import Meter
from core.operations.work import Kind, Step, Work
from core.sql import select
from core.store import now
from core.volumes import backends, guards, placement
from core.volumes.backups import containers, copying
from core.volumes.backups.manifest import Manifest
from core.volumes.backups.repository import CHUNK, Repository
from core.volumes.tables import Backend, Backup, Snapshot, Volume
from hostd.spec import BackendSpec, Read, Write

_log = logging.getLogger(__name__)

_CANCELLED: dict[str, Any] = {"type": "Cancelled", "title": "the operation was cancelled", "hint": ""}


def _backup(session: Session, work: Work) -> Backup:
    return session.get_one(Backup, work.operation.object_id, populate_existing=True)


def _volume(session: Session, id: str) -> Volume:
    return session.get_one(Volume, id, populate_existing=True)


def _spec(session: Session, volume: Volume) -> BackendSpec:
    return backends.spec_of(session.get_one(Backend, volume.backend_id))


async def opened(work: Work, backup: Backup) -> Repository:
    """Where a backup is."""
    return await asyncio.to_thread(containers.opened, work.config, backup.container)


async def _give_back(repository: Repository, sweep: Callable[[], Any]) -> None:
    """Sweep. What stands in the way of that is no reason for an operation to fail: the next one sweeps again."""
    try:
        await asyncio.to_thread(sweep)
    except Failed as bad:
        _log.warning("%s could not be swept: %s", repository, bad.title)


# ---------------------------------------------------------------------------- create


async def _freeze(work: Work) -> None:
    backup = await work.read(lambda session: _backup(session, work))
    if backup.base_snapshot_id is not None:
        await storage.make_snapshot(work, backup.base_snapshot_id)
    if "at" not in work.data:
        await work.write(lambda session: work.note(at=_moment(session, backup)))


def _moment(session: Session, backup: Backup) -> int:
    """Whose contents it holds."""
    return session.get_one(Snapshot, backup.snapshot_id).created_at if backup.snapshot_id else now(session)


async def _thaw(work: Work) -> None:
    backup = await work.read(lambda session: _backup(session, work))
    if backup.base_snapshot_id is not None:
        await storage.drop_snapshot(work, backup.base_snapshot_id)


async def _copy(work: Work) -> None:
    backup, host_id, asked, parent = await work.read(lambda session: _plan(session, work))
    repository = await opened(work, backup)
    before = None
    if parent is not None:
        before = await asyncio.to_thread(repository.manifest, parent.id, parent.manifest)
    about = Manifest(
        backup=backup.id,
        volume=backup.volume_id,
        size=0,
        chunk=CHUNK,
        at=int(work.data["at"]),
        parent=backup.parent_id,
        chunks={},
    )
    host = work.hosts.get(host_id)
    meter = Meter(work)
    try:
        stored = await copying.store(
            repository,
            lambda begin: host.read(attrs.evolve(asked, begin=begin)),
            about=about,
            parent=before,
            progress=meter,
        )
    finally:
        await meter.close()
    work.note(manifest=stored.digest, chunks=stored.chunks, added=stored.added)


def _plan(session: Session, work: Work) -> tuple[Backup, str, Read, Backup | None]:
    """What is read, on which host, and the backup whose chunks stand for what is not."""
    backup = _backup(session, work)
    volume = _volume(session, backup.volume_id)
    host_id, spec = placement.actor(session, volume), _spec(session, volume)
    frozen = backup.base_snapshot_id or backup.snapshot_id
    if frozen is None:
        return backup, host_id, Read(subject="volume", uuid=volume.id, backend=spec, chunk=CHUNK), None
    parent = session.get(Backup, backup.parent_id) if backup.parent_id else None
    since = _since(session, parent, frozen)
    asked = Read(subject="snapshot", uuid=frozen, volume=volume.id, backend=spec, since=since, chunk=CHUNK)
    return backup, host_id, asked, parent


def _since(session: Session, parent: Backup | None, frozen: str) -> str | None:
    """The older snapshot that the parent was read from, while it is there. Without it all is read; what did not change
    is stored already."""
    if parent is None:
        return None
    now_ = session.get_one(Snapshot, frozen, populate_existing=True)
    for id in (parent.base_snapshot_id, parent.snapshot_id):
        base = session.get(Snapshot, id, populate_existing=True) if id else None
        if base is not None and base.status == "available" and not base.deleted_at and base.number < now_.number:
            return base.id
    return None


async def _uncopy(work: Work) -> None:
    backup = await work.read(lambda session: _backup(session, work))
    repository = await opened(work, backup)
    await asyncio.to_thread(repository.forget, backup.id)
    await _give_back(repository, repository.sweep)


async def _let_go(work: Work) -> None:
    """The next increment is told apart by this backup's snapshot, where it can be; those of earlier ones served."""
    for id in await work.read(lambda session: _served(session, work)):
        try:
            await storage.drop_snapshot(work, id)
        except HostFailed as bad:
            if bad.transient:
                raise
            # The backup is complete; the next one tries again.
            _log.warning("a hidden snapshot of volume %s stays: %s", work.operation.object_name, bad.title)
    backup = await work.read(lambda session: _backup(session, work))
    repository = await opened(work, backup)
    await _give_back(repository, repository.sweep_if_wanted)


def _served(session: Session, work: Work) -> list[str]:
    backup = _backup(session, work)
    query = (
        select(Snapshot.id)
        .join(Backup, col(Backup.base_snapshot_id) == col(Snapshot.id))
        .where(
            col(Backup.volume_id) == backup.volume_id,
            col(Backup.container) == backup.container,
            col(Backup.id) != backup.id,
            col(Backup.created_at) <= backup.created_at,
            col(Snapshot.deleted_at) == 0,
        )
        .order_by(col(Snapshot.number))
    )
    if backup.base_snapshot_id is None:
        return []  # then the one before it is still what the next increment is told apart by
    served = list(session.execute(query).scalars())
    return served if work.data["keep_base"] else [*served, backup.base_snapshot_id]


def _created(session: Session, work: Work) -> None:
    backup = _backup(session, work)
    backup.manifest = str(work.data["manifest"])
    backup.object_count, backup.stored_bytes = int(work.data["chunks"]), int(work.data["added"])
    backup.data_at, backup.fault = int(work.data["at"]), None
    if not work.data["keep_base"]:
        backup.base_snapshot_id = None
    if backup.status == "creating":
        backup.status = "available"
    _rest(session, backup)


def _not_created(session: Session, work: Work, error: dict[str, Any]) -> None:
    backup = _backup(session, work)
    backup.base_snapshot_id = None
    backup.fault = {**error, "operation": work.operation.id}
    if backup.status == "creating":
        backup.status = "error"
    _rest(session, backup)


def _rest(session: Session, backup: Backup) -> None:
    """What was read is what it was before."""
    backup.updated_at = now(session)
    session.flush()
    if backup.snapshot_id is None:
        storage.rest(session, backup.volume_id)
        return
    taken = session.get_one(Snapshot, backup.snapshot_id, populate_existing=True)
    if taken.status == "backing-up":
        taken.status, taken.updated_at = "available", now(session)
        session.flush()


CREATE = Kind(
    steps=(
        Step(name="freeze", run=_freeze, undo=_thaw),
        Step(name="copy", run=_copy, undo=_uncopy, weight=20, interruptible=True),
        Step(name="let_go", run=_let_go),
    ),
    complete=_created,
    failed=_not_created,
    cancelled=lambda session, work: _not_created(session, work, _CANCELLED | {"hint": "Delete the backup."}),
)

# ---------------------------------------------------------------------------- restore


async def _claim(work: Work) -> None:
    """A new volume has been made by now, or could not be. Raises Conflict then."""

    def claim(session: Session) -> None:
        volume = _volume(session, work.operation.object_id)
        if work.data["fresh"] and volume.status != "restoring-backup":
            guards.begin(session, cloud.system_context(session), volume, "restore")

    await work.write(claim)


async def _check(work: Work) -> None:
    """What a volume holds is not given up for a backup that cannot be read to its end."""
    if work.data["fresh"]:
        return
    repository, manifest = await _manifest(work, str(work.data["backup"]))
    await _checked(work, repository, manifest)


async def _write(work: Work) -> None:
    repository, manifest = await _manifest(work, str(work.data["backup"]))

    def where(session: Session) -> tuple[str, BackendSpec]:
        volume = _volume(session, work.operation.object_id)
        return placement.actor(session, volume), _spec(session, volume)

    host_id, spec = await work.read(where)
    meter = Meter(work)
    work.note(writing=True)
    await work.write(lambda session: None)
    extents = copying.contents(repository, manifest, zeros=not work.data["fresh"], progress=meter)
    try:
        async with contextlib.aclosing(extents):
            await work.hosts.get(host_id).write(Write(volume=work.operation.object_id, backend=spec), extents)
    finally:
        await meter.close()


async def _manifest(work: Work, backup_id: str) -> tuple[Repository, Manifest]:
    backup = await work.read(lambda session: session.get_one(Backup, backup_id, populate_existing=True))
    repository = await opened(work, backup)
    return repository, await asyncio.to_thread(repository.manifest, backup.id, backup.manifest)


async def _checked(work: Work, repository: Repository, manifest: Manifest) -> None:
    meter = Meter(work)
    try:
        await copying.check(repository, manifest, meter)
    finally:
        await meter.close()


def _restored(session: Session, work: Work) -> None:
    _backup_free(session, work)
    storage.rest(session, work.operation.object_id)


def _not_restored(session: Session, work: Work, error: dict[str, Any]) -> None:
    _backup_free(session, work)
    volume = _volume(session, work.operation.object_id)
    if volume.status == "restoring-backup":
        # What it held is partly overwritten only once writing has begun.
        fault = {**error, "operation": work.operation.id}
        storage.rest(session, volume.id, status="error_restoring" if work.data.get("writing") else None, fault=fault)


def _backup_free(session: Session, work: Work) -> None:
    backup = session.get_one(Backup, str(work.data["backup"]), populate_existing=True)
    if backup.status == "restoring":
        backup.status, backup.updated_at = "available", now(session)
        session.flush()


RESTORE = Kind(
    steps=(
        Step(name="claim", run=_claim),
        Step(name="check", run=_check, weight=5, interruptible=True),
        Step(name="write", run=_write, weight=10, interruptible=True),
    ),
    complete=_restored,
    failed=_not_restored,
    cancelled=lambda session, work: _not_restored(session, work, _CANCELLED | {"hint": "Restore it again."}),
)

# ---------------------------------------------------------------------------- verify


async def _verify(work: Work) -> None:
    repository, manifest = await _manifest(work, work.operation.object_id)
    await _checked(work, repository, manifest)


def _verified(session: Session, work: Work) -> None:
    backup = _backup(session, work)
    backup.verified_at = backup.updated_at = now(session)
    backup.fault = None
    if backup.status == "error":
        backup.status = "available"
    session.flush()


def _not_verified(session: Session, work: Work, error: dict[str, Any]) -> None:
    backup = _backup(session, work)
    if error.get("type") == "Damaged":
        backup.fault = {**error, "operation": work.operation.id}
        backup.status = "error" if backup.status == "available" else backup.status
        backup.updated_at = now(session)
        session.flush()


def _nothing(session: Session, work: Work) -> None:
    """It is what it was."""


VERIFY = Kind(
    steps=(Step(name="verify", run=_verify, interruptible=True),),
    complete=_verified,
    failed=_not_verified,
    cancelled=_nothing,
)

# ---------------------------------------------------------------------------- delete


async def _forget(work: Work) -> None:
    backup = await work.read(lambda session: _backup(session, work))
    repository = await opened(work, backup)
    await asyncio.to_thread(repository.forget, backup.id)
    await _give_back(repository, repository.sweep)


async def _drop_base(work: Work) -> None:
    def there(session: Session) -> str | None:
        id = _backup(session, work).base_snapshot_id
        base = session.get(Snapshot, id, populate_existing=True) if id else None
        return None if base is None or base.deleted_at else base.id

    if (base := await work.read(there)) is not None:
        await storage.drop_snapshot(work, base)


def _deleted(session: Session, work: Work) -> None:
    backup = _backup(session, work)
    backup.status, backup.deleted_at = "deleted", now(session)
    backup.updated_at = backup.deleted_at
    session.flush()


def _not_deleted(session: Session, work: Work, error: dict[str, Any]) -> None:
    backup = _backup(session, work)
    backup.status, backup.updated_at = guards.ERROR_DELETING, now(session)
    backup.fault = {**error, "operation": work.operation.id}
    session.flush()


DELETE = Kind(
    steps=(Step(name="forget", run=_forget, weight=2), Step(name="base", run=_drop_base)),
    complete=_deleted,
    failed=_not_deleted,
    cancelled=lambda session, work: _not_deleted(session, work, _CANCELLED | {"hint": "Delete it again."}),
)
