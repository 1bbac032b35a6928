"""A server made into an image: nova's createImage, of a server that runs or not.

Of a root disk that is a file, the image holds the bytes. Of one that is a volume it holds none: it names snapshots of
the server's volumes, from which a launch makes new ones (nova/compute/api.py, snapshot_volume_backed).
"""

from __future__ import annotations

import json
from typing import Any

from sqlmodel import Session

from core import events
from core.compute.instances import guards, verbs
from core.compute.instances.block_devices import MAPPING
from core.config import Config
from core.context import Context
from core.identity.policy import authorize
from core.images import images
from core.images import properties as image_properties
from core.images.images import Image
from core.images.stores import Stores
from core.operations import operations
from core.operations.operations import Operation
from core.volumes import attachments, snapshots, usage
from core.volumes import guards as volume_guards
from core.volumes.tables import Snapshot, Volume, VolumeAttachment, VolumeType


def create_image(
    session: Session,
    ctx: Context,
    config: Config,
    id_or_name: str,
    *,
    name: str,
    properties: dict[str, str] | None = None,
    quiesce: bool = False,
) -> tuple[Image, Operation]:
    """An image of a server as it is at one moment. `quiesce` has its guest agent freeze the file systems meanwhile,
    where one answers. Raises Conflict as its guard, NotFound, Invalid, Forbidden, QuotaExceeded.
    """
    authorize(ctx, "image:create")
    instance = verbs.find(session, ctx, id_or_name, rule="instance:set")
    guard = guards.check(ctx, instance, "create_image")
    mine = attachments.of_instance(session, instance.id)
    from_volume = any(attachment.boot_index == 0 for attachment in mine)
    base = session.get(Image, instance.image_id) if instance.image_id else None
    kept = {
        key: value
        for key, value in instance.image_properties.items()
        if key not in (MAPPING, *image_properties.RESERVED)
    }
    told = {"image_type": "snapshot", "instance_uuid": instance.id, "user_id": ctx.user_id}
    if instance.image_id:
        told["base_image_ref"] = instance.image_id
    taken: list[Snapshot] = []
    if from_volume:
        taken = [_freeze(session, ctx, name, attachment) for attachment in mine]
        told |= {
            MAPPING: json.dumps([_entry(session, *pair) for pair in zip(mine, taken, strict=True)]),
            "bdm_v2": "True",
            "root_device_name": next(one.device for one in mine if one.boot_index == 0),
        }
    image = images.create(
        session,
        ctx,
        name=name,
        disk_format="raw" if from_volume else "qcow2",
        min_disk_gb=0 if from_volume else instance.root_gb,
        min_ram_mb=base.min_ram_mb if base is not None else 0,
        source=f"server {instance.id}",
        store=Stores(config).default,
        instance_id=instance.id,
        properties={**kept, **(properties or {}), **told},
    )
    images.begin(session, ctx, image.id)
    instance.task_state = guard.task
    operation = operations.enqueue(
        session,
        ctx,
        "instance.create_image",
        object_kind="instance",
        object_id=instance.id,
        object_name=instance.name,
        project_id=instance.project_id,
        lane=instance.host_id or "",
        args={"image": image.id, "quiesce": quiesce, "snapshots": [snapshot.id for snapshot in taken]},
    )
    events.record(
        session,
        ctx,
        "instance.create_image",
        kind="instance",
        id=instance.id,
        name=instance.name,
        project_id=instance.project_id,
        after={"image_id": image.id, "image": name},
    )
    return image, operation


def _freeze(session: Session, ctx: Context, name: str, attachment: VolumeAttachment) -> Snapshot:
    """The snapshot that the operation takes of one of its volumes: as one of the user's own, counted and listed."""
    volume = session.get_one(Volume, attachment.volume_id, populate_existing=True)
    type = session.get(VolumeType, volume.type_id) if volume.type_id else None
    usage.check(session, ctx, volume.project_id, type=type, snapshots=1, gigabytes=volume.size_gb)
    volume_guards.begin(session, ctx, volume, "snapshot", force=True)
    snapshot = snapshots.hidden(session, ctx, volume)
    snapshot.hidden, snapshot.name = False, f"snapshot for {name}"[:255]
    session.flush()
    return snapshot


def _entry(session: Session, attachment: VolumeAttachment, snapshot: Snapshot) -> dict[str, Any]:
    """One disk as nova writes it into the image's mapping."""
    volume = session.get_one(Volume, attachment.volume_id)
    type = session.get(VolumeType, volume.type_id) if volume.type_id else None
    return {
        "boot_index": attachment.boot_index,
        "delete_on_termination": attachment.delete_on_termination,
        "destination_type": "volume",
        "device_name": attachment.device,
        "device_type": "disk",
        "disk_bus": attachment.bus or None,
        "guest_format": None,
        "image_id": None,
        "no_device": None,
        "snapshot_id": snapshot.id,
        "source_type": "snapshot",
        "tag": attachment.tag or None,
        "volume_id": None,
        "volume_size": snapshot.size_gb,
        "volume_type": type.name if type is not None else None,
    }
