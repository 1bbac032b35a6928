"""The volumes of a launch: what they need of a host, what they count, and the rows that promise them.

A new volume is `creating`, and the server's from its first moment; the create's step `volumes` makes it on the host
that was chosen. When that host fails, it is made again where the next one reaches.
"""

from __future__ import annotations

from collections import Counter

from sqlmodel import Session

from core.compute.instances.block_devices import Disk, Layout
from core.compute.instances.table import Instance
from core.compute.scheduler.model import VolumeNeed
from core.config import Config
from core.context import Context
from core.hosts.table import Host
from core.store import now
from core.volumes import attachments, placement, usage, volumes
from core.volumes.placement import filters
from core.volumes.tables import Backend, Volume


def needs(session: Session, layout: Layout) -> tuple[VolumeNeed, ...]:
    """Which hosts could give a server its volumes."""
    places = placement.look(session) if layout.new else []
    found = []
    for disk in layout.disks:
        if disk.volume is not None:
            found.append(_existing(session, disk.volume))
            continue
        left, _, _ = filters.apply(_request(session, disk), places)
        words = f"a place for a new volume of {disk.size_gb} GiB"
        found.append(VolumeNeed(words, frozenset[str]().union(*(place.reached_by for place in left))))
    return tuple(found)


def needs_again(session: Session, instance: Instance, made: list[str]) -> tuple[VolumeNeed, ...]:
    """The same for an instance that is placed anew; `made` are the ids of volumes that are made for it there."""
    found = []
    for attachment in attachments.of_instance(session, instance.id):
        volume = session.get_one(Volume, attachment.volume_id, populate_existing=True)
        if volume.id in made and not (volume.host_id and volume.source_kind == "snapshot"):
            backend = session.get_one(Backend, volume.backend_id)
            words = f"backend {backend.name} for a new volume"
            found.append(VolumeNeed(words, frozenset(placement.reach(session, backend.id))))
        else:
            found.append(_existing(session, volume))
    return tuple(found)


def _existing(session: Session, volume: Volume) -> VolumeNeed:
    called = volume.name or volume.id
    if volume.host_id is not None:
        host = session.get(Host, volume.host_id)
        return VolumeNeed(f"{called}, which is on host {host.name if host else '?'}", frozenset([volume.host_id]))
    backend = session.get_one(Backend, volume.backend_id)
    return VolumeNeed(f"{called} of backend {backend.name}", frozenset(placement.reach(session, backend.id)))


def _request(session: Session, disk: Disk) -> placement.Request:
    assert disk.type is not None  # a new one has a type
    near = None
    if disk.snapshot is not None:
        source = session.get_one(Volume, disk.snapshot.volume_id)
        near = frozenset([source.host_id] if source.host_id else placement.reach(session, source.backend_id))
    return placement.Request(size_gb=disk.size_gb, extra_specs=disk.type.extra_specs, near=near)


def quota(session: Session, ctx: Context, layout: Layout) -> dict[str, int]:
    """What one server's new volumes take of each quota. Raises QuotaExceeded for one that is too large."""
    counted: Counter[str] = Counter()
    for disk in layout.new:
        usage.check_size(session, ctx.project_id, disk.size_gb)
        assert disk.type is not None  # a new one has a type
        counted.update(volumes=1, gigabytes=disk.size_gb)
        counted.update({f"volumes_{disk.type.name}": 1, f"gigabytes_{disk.type.name}": disk.size_gb})
    return dict(counted)


def give(session: Session, ctx: Context, config: Config, instance: Instance, layout: Layout) -> list[str]:
    """Reserve the volumes that are there, and promise those that are not; answers the ids of these.

    The instance has its host. Raises Conflict for a volume that another server has, NoValidHost for one that no backend
    can keep.
    """
    made = []
    for disk in layout.disks:
        volume = disk.volume
        if volume is None:
            volume = _promise(session, ctx, config, disk, host_id=instance.host_id)
            made.append(volume.id)
        attachments.reserve(
            session,
            instance,
            volume,
            boot_index=disk.boot_index,
            bus=disk.asked.disk_bus,
            delete_on_termination=disk.asked.delete_on_termination,
            tag=disk.asked.tag,
            made=disk.volume is None,
        )
    return made


def _promise(session: Session, ctx: Context, config: Config, disk: Disk, *, host_id: str | None) -> Volume:
    assert host_id is not None  # a launch gives volumes to what is placed
    assert disk.type is not None  # a new one has a type
    return volumes.prepare(
        session,
        ctx,
        config,
        host_id=host_id,
        size_gb=disk.size_gb,
        image=disk.image.id if disk.image else None,
        snapshot=disk.snapshot.id if disk.snapshot else None,
        type=disk.type.id,
    )


def follow(session: Session, made: list[str], host_id: str) -> None:
    """The instance is on another host now: local volumes that are made for it are made there."""
    for volume_id in made:
        volume = session.get_one(Volume, volume_id, populate_existing=True)
        if volume.host_id is not None:
            volume.host_id = host_id
    session.flush()


def take_back(session: Session, instance: Instance, made: list[str]) -> None:
    """The launch came to nothing: what was reserved is free again, what was made for it is gone."""
    for attachment in attachments.of_instance(session, instance.id):
        attachments.release(session, attachment)
    for volume_id in made:
        volume = session.get_one(Volume, volume_id, populate_existing=True)
        if not volume.deleted_at:
            volume.status, volume.deleted_at = "deleted", now(session)
            volume.updated_at = volume.deleted_at
    session.flush()
