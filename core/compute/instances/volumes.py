"""A server's volumes while it lives: attached and detached, running or not."""

from __future__ import annotations

import re
from typing import Final

from sqlmodel import Session

from core import events
from core.compute.instances import guards, states, verbs
from core.compute.instances.table import Instance
from core.config import Config
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.hosts.table import Host
from core.identity.policy import authorize
from core.operations import operations
from core.operations.operations import Operation
from core.volumes import attachments, placement, volumes
from core.volumes.tables import Backend, Volume, VolumeAttachment

_DEVICE: Final = re.compile(r"/dev/(vd|sd|hd|xvd)[a-z]")

_LONGEST_TAG: Final = 60
"""nova's limit."""


def attach(
    session: Session,
    ctx: Context,
    config: Config,
    id_or_name: str,
    *,
    volume: str,
    device: str = "",
    read_only: bool = False,
    delete_on_termination: bool = False,
    tag: str = "",
) -> Operation:
    """Give a server a volume. It is the server's from now on; its guest has it when the operation has succeeded.

    Raises NotFound, Forbidden, Invalid; Conflict as its guard, when another server has the volume, or when the server's
    host does not reach it.
    """
    authorize(ctx, "volume:attach")
    instance = verbs.find(session, ctx, id_or_name, rule="instance:set")
    guards.check(ctx, instance, "attach_volume")
    found = volumes.find(session, ctx, volume)
    if found.project_id != instance.project_id:
        raise Invalid(
            f"volume {found.name or found.id} and server {instance.name} are of different projects",
            hint="skydeck volume transfer request create hands a volume over.",
        )
    mine = attachments.of_instance(session, instance.id)
    if any(one.volume_id == found.id for one in mine):
        raise Conflict(f"volume {found.name or found.id} is attached to {instance.name} already")
    if device and (not _DEVICE.fullmatch(device) or device in {one.device for one in mine}):
        raise Invalid(f"{device!r} cannot be the name of a disk of {instance.name}", hint="Leave it out.")
    if len(tag) > _LONGEST_TAG or not tag.isprintable() or "," in tag or "/" in tag:
        raise Invalid(f"{tag[:40]!r} is no tag", hint=f"At most {_LONGEST_TAG} characters, no comma and no slash.")
    check_reach(session, instance, found)
    attachment = attachments.reserve(
        session,
        instance,
        found,
        device=device,
        read_only=read_only,
        delete_on_termination=delete_on_termination,
        tag=tag,
    )
    return _enqueue(session, ctx, instance, attachment, found, "attach_volume")


def detach(session: Session, ctx: Context, id_or_name: str, *, volume: str) -> Operation:
    """Take a volume from a server. It is free when the guest has confirmed that it let go of it.

    Raises NotFound when the server does not have it; Conflict as its guard, for a root disk, or while something else
    runs on the volume.
    """
    authorize(ctx, "volume:attach")
    instance = verbs.find(session, ctx, id_or_name, rule="instance:set")
    guards.check(ctx, instance, "detach_volume")
    attachment, found = _own(session, instance, volume)
    if attachment.boot_index == 0 and instance.vm_state != states.SHELVED_OFFLOADED:
        kept = "; its root disk goes with it" if attachment.delete_on_termination else "; the volume stays"
        raise Conflict(
            f"volume {found.name or found.id} is the root disk of {instance.name}", hint=f"Delete the server{kept}."
        )
    attachments.begin_detaching(session, attachment)
    return _enqueue(session, ctx, instance, attachment, found, "detach_volume")


def check_reach(session: Session, instance: Instance, volume: Volume) -> None:
    """The instance's host can open the volume. Raises Conflict with what to do about it when it cannot."""
    if instance.host_id is None:
        return  # the scheduler sees to it when it is placed
    here = session.get_one(Host, instance.host_id)
    backend = session.get_one(Backend, volume.backend_id)
    called = volume.name or volume.id
    if volume.host_id is not None and volume.host_id != here.id:
        there = session.get(Host, volume.host_id)
        where = there.name if there else volume.host_id
        raise Conflict(
            f"volume {called} is on host {where}, server {instance.name} on {here.name}",
            hint="A local volume serves only its own host's servers: back it up and restore it to a type that is "
            "shared, or launch a server where it is.",
        )
    if here.id not in placement.reach(session, backend.id):
        raise Conflict(
            f"host {here.name} does not reach backend {backend.name}, where volume {called} is",
            hint=f"skydeck storage host show {here.name} tells why.",
        )


def _own(session: Session, instance: Instance, wanted: str) -> tuple[VolumeAttachment, Volume]:
    for attachment in attachments.of_instance(session, instance.id):
        volume = session.get_one(Volume, attachment.volume_id)
        if wanted in (volume.id, volume.name, attachment.device) and wanted:
            return attachment, volume
    raise NotFound(f"{instance.name} has no volume {wanted!r}", hint="skydeck server show lists them.")


def _enqueue(
    session: Session, ctx: Context, instance: Instance, attachment: VolumeAttachment, volume: Volume, what: str
) -> Operation:
    operation = operations.enqueue(
        session,
        ctx,
        f"instance.{what}",
        object_kind="instance",
        object_id=instance.id,
        object_name=instance.name,
        project_id=instance.project_id,
        lane=instance.host_id or "",
        args={"volume": volume.id},
        data={"attachment": attachment.id, "volume": volume.id},
    )
    told = {"volume_id": volume.id, "device": attachment.device}
    for kind, row, action, after in (
        ("instance", instance, f"instance.{what}", told),
        ("volume", volume, f"volume.{what.removesuffix('_volume')}", {"instance_id": instance.id}),
    ):
        events.record(session, ctx, action, kind=kind, id=row.id, name=row.name, project_id=row.project_id, after=after)
    return operation
