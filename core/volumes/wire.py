"""A volume and a snapshot as their host is told them: rows turned into hostd's specs."""

from __future__ import annotations

from sqlmodel import Session

from core.errors import Failed
from core.images.images import Image
from core.volumes import backends
from core.volumes.still import BEING_MADE
from core.volumes.tables import Backend, Snapshot, Volume
from hostd.spec import BackendSpec, ImageRef, SnapshotSpec, SourceKind, VolumeSource, VolumeSpec, Want


def volume(
    session: Session,
    row: Volume,
    *,
    want: Want = Want.PRESENT,
    through: str | None = None,
    revert_to: str | None = None,
) -> VolumeSpec:
    """`through` is the snapshot by which a copy of another volume is made. Raises Failed when what it is made from is
    gone."""
    being_made = row.status in BEING_MADE
    return VolumeSpec(
        uuid=row.id,
        want=want,
        backend=_backend(session, row.backend_id),
        size_gb=row.size_gb,
        source=_source(session, row, through) if being_made and want is Want.PRESENT else None,
        made=not being_made,
        revert_to=revert_to,
    )


def copied(session: Session, row: Volume, *, backend_id: str, of: str, want: Want = Want.PRESENT) -> VolumeSpec:
    """The same volume on another backend, filled from the one `of` where it is now."""
    source = VolumeSource(kind=SourceKind.VOLUME, volume=row.id, backend=_backend(session, of))
    return VolumeSpec(
        uuid=row.id,
        want=want,
        backend=_backend(session, backend_id),
        size_gb=row.size_gb,
        source=source if want is Want.PRESENT else None,
    )


def snapshot(session: Session, row: Snapshot, *, want: Want = Want.PRESENT, quiesce: bool = False) -> SnapshotSpec:
    of = session.get_one(Volume, row.volume_id, populate_existing=True)
    return SnapshotSpec(uuid=row.id, want=want, volume=of.id, backend=_backend(session, of.backend_id), quiesce=quiesce)


def image_of(session: Session, row: Volume) -> ImageRef | None:
    """What must be in the host's cache before the volume is made. Raises Failed when the image has no data any more."""
    if row.source_kind != SourceKind.IMAGE:
        return None
    image = session.get(Image, row.source_id)
    if image is None or image.digest is None:
        raise Failed(f"image {row.source_id} has no data any more", hint="Delete the volume, make it from another.")
    return image.ref


def source_volume(session: Session, row: Volume) -> Volume | None:
    """The volume whose snapshot, or whose copy, it is being made from."""
    if row.source_kind == SourceKind.SNAPSHOT:
        return session.get_one(Volume, session.get_one(Snapshot, row.source_id).volume_id)
    return session.get_one(Volume, row.source_id) if row.source_kind == SourceKind.VOLUME else None


def _source(session: Session, row: Volume, through: str | None) -> VolumeSource | None:
    if row.source_kind == SourceKind.IMAGE:
        return VolumeSource(kind=SourceKind.IMAGE, image=image_of(session, row))
    snapshot_id = row.source_id if row.source_kind == SourceKind.SNAPSHOT else through
    if snapshot_id is None:
        return None
    frozen = session.get_one(Snapshot, snapshot_id)
    of = session.get_one(Volume, frozen.volume_id, populate_existing=True)
    return VolumeSource(
        kind=SourceKind.SNAPSHOT, volume=of.id, snapshot=frozen.id, backend=_backend(session, of.backend_id)
    )


def _backend(session: Session, backend_id: str) -> BackendSpec:
    return backends.spec_of(session.get_one(Backend, backend_id))
