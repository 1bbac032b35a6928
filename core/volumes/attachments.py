"""A volume's way into a guest and out of it: who has it, in the words and the moves of cinder (semantics F).

    volume        available ─reserve─▶ attaching ─finish─▶ in-use ─begin_detaching─▶ detaching ─release─▶ available
                                                              ◀────roll_detaching────┘
    attachment    reserved ─begin─▶ attaching ─finish─▶ attached ─begin_detaching─▶ detaching ─release─▶ detached

Every move of a volume is one UPDATE that names the status it was seen in, so of two who want the same one wins. The
unique `slot` of an attachment holds it besides: whatever the statuses say, a volume has one attachment, unless its type
lets several guests have it at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import func, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.errors import Conflict
from core.hosts.table import Host
from core.sql import select
from core.store import clock_of, now
from core.volumes import still
from core.volumes.tables import Volume, VolumeAttachment

RESERVED: Final = "reserved"
ATTACHING: Final = "attaching"
ATTACHED: Final = "attached"
DETACHING: Final = "detaching"
DETACHED: Final = "detached"

IN_GUEST: Final = (ATTACHING, ATTACHED, DETACHING)
"""Attachments that a guest has, or may have: those its host is told."""

AVAILABLE: Final = "available"
IN_USE: Final = "in-use"

_NOT_YET: Final = ("creating", "downloading")
"""A volume that is being made for a server is the server's already."""


def reserve(
    session: Session,
    instance: Instance,
    volume: Volume,
    *,
    device: str = "",
    boot_index: int | None = None,
    bus: str = "",
    read_only: bool = False,
    delete_on_termination: bool = False,
    tag: str = "",
    made: bool = False,
) -> VolumeAttachment:
    """Take a volume for an instance: available to attaching; a multiattach volume also while others have it, or are
    given it.

    `made` is for a volume that is made for this instance in this transaction: it stays `creating`. Raises Conflict,
    naming who has it, or what it is.
    """
    if not made:
        still.check(session, volume)
        allowed = (AVAILABLE, IN_USE, ATTACHING) if volume.multiattach else (AVAILABLE,)
        if not move(session, volume, allowed, ATTACHING):
            raise _taken(session, volume)
    id, called = clock_of(session).uuid(), _called(volume)
    attachment = VolumeAttachment(
        id=id,
        volume_id=volume.id,
        instance_id=instance.id,
        slot=id if volume.multiattach else volume.id,
        device=device or _next_device(session, instance, bus),
        number=_next_number(session, instance.id),
        boot_index=boot_index,
        bus=bus,
        read_only=read_only or volume.read_only,
        delete_on_termination=delete_on_termination,
        tag=tag,
    )
    session.add(attachment)
    try:
        session.flush()
    except IntegrityError as taken:
        raise Conflict(f"volume {called} is attached already", hint="Detach it there first.") from taken
    return attachment


def begin(session: Session, attachment: VolumeAttachment) -> None:
    """From here on the instance's host is told of it: reserved to attaching. Doing it twice is once."""
    if attachment.status == RESERVED:
        attachment.status = ATTACHING
        session.flush()


def finish_attach(session: Session, attachment: VolumeAttachment) -> None:
    """The guest has it: attached, and the volume in-use. Doing it twice is once."""
    if attachment.status in (RESERVED, ATTACHING):
        attachment.status, attachment.attached_at = ATTACHED, now(session)
        session.flush()
    volume = _volume(session, attachment)
    move(session, volume, (*_NOT_YET, AVAILABLE, ATTACHING), IN_USE)


def begin_detaching(session: Session, attachment: VolumeAttachment) -> None:
    """in-use to detaching. Raises Conflict when the volume, or this attachment of it, is anything else."""
    volume = _volume(session, attachment)
    if attachment.status != ATTACHED or not move(session, volume, (IN_USE,), DETACHING):
        raise Conflict(
            f"volume {_called(volume)} is {volume.status}, it must be {IN_USE}", hint="Wait for what runs on it."
        )
    attachment.status = DETACHING
    session.flush()


def roll_detaching(session: Session, attachment: VolumeAttachment) -> None:
    """The guest did not let go of it: detaching back to in-use. Doing it twice is once."""
    if attachment.status == DETACHING:
        attachment.status = ATTACHED
        session.flush()
    move(session, _volume(session, attachment), (DETACHING,), IN_USE)


def release(session: Session, attachment: VolumeAttachment) -> None:
    """No guest has it any more, nor will: the volume is what it is without it. Doing it twice is once.

    A volume that something else works on meanwhile keeps that status, and rests as what it is now when that ends.
    """
    if attachment.detached_at:
        return
    attachment.status, attachment.detached_at = DETACHED, now(session)
    session.flush()
    volume = _volume(session, attachment)
    rest = resting(session, volume.id)
    if not move(session, volume, (ATTACHING, DETACHING, IN_USE, RESERVED), rest):
        session.execute(
            update(Volume)
            .where(col(Volume.id) == volume.id, col(Volume.previous_status).in_([IN_USE, ATTACHING, DETACHING]))
            .values(previous_status=rest)
            .execution_options(synchronize_session=False)
        )
        session.refresh(volume)


def resting(session: Session, volume_id: str) -> str:
    """What a volume is when nothing works on it: in-use while an attachment lives, else available."""
    return IN_USE if of_volume(session, volume_id) else AVAILABLE


def of_instance(session: Session, instance_id: str) -> list[VolumeAttachment]:
    """The living ones, in the order they were attached in."""
    return _living(session, col(VolumeAttachment.instance_id) == instance_id)


def of_volume(session: Session, volume_id: str) -> list[VolumeAttachment]:
    """The living ones: at most one, unless the volume is multiattach."""
    return _living(session, col(VolumeAttachment.volume_id) == volume_id)


def move(session: Session, volume: Volume, seen: Iterable[str], to: str) -> bool:
    """Change a volume's status, on condition that it is one of `seen`. Answers whether it was; `volume` is then, as in
    any case, what the database has."""
    session.flush()
    moved = session.execute(
        update(Volume)
        .where(col(Volume.id) == volume.id, col(Volume.deleted_at) == 0, col(Volume.status).in_(tuple(seen)))
        .values(status=to, previous_status=col(Volume.status), updated_at=now(session))
        .execution_options(synchronize_session=False)
    )
    session.refresh(volume)
    return bool(moved.rowcount == 1)  # type: ignore[attr-defined]


def holders(session: Session, volume_id: str) -> str:
    """Who has a volume, for a person: `web on host h1`; empty when nobody has."""
    rows = session.execute(
        select(Instance.name, Host.name)
        .select_from(VolumeAttachment)
        .join(Instance, col(Instance.id) == col(VolumeAttachment.instance_id))
        .outerjoin(Host, col(Host.id) == col(Instance.host_id))
        .where(col(VolumeAttachment.volume_id) == volume_id, col(VolumeAttachment.detached_at) == 0)
        .order_by(col(Instance.name))
    ).all()
    return ", ".join(f"{name} on host {host}" if host else str(name) for name, host in rows)


def _taken(session: Session, volume: Volume) -> Conflict:
    who = holders(session, volume.id)
    if who:
        verb = "being attached to" if volume.status == ATTACHING else "attached to"
        return Conflict(f"volume {_called(volume)} is {verb} {who}", hint="Detach it there first.")
    return Conflict(
        f"volume {_called(volume)} is {volume.status}, it must be {AVAILABLE}", hint="Wait for what runs on it."
    )


def _living(session: Session, which: Any) -> list[VolumeAttachment]:
    query = (
        select(VolumeAttachment)
        .where(which, col(VolumeAttachment.detached_at) == 0)
        .order_by(col(VolumeAttachment.number), col(VolumeAttachment.id))
        .execution_options(populate_existing=True)
    )
    return list(session.execute(query).scalars())


def _volume(session: Session, attachment: VolumeAttachment) -> Volume:
    return session.get_one(Volume, attachment.volume_id, populate_existing=True)


def _next_number(session: Session, instance_id: str) -> int:
    highest = select(func.max(VolumeAttachment.number)).where(col(VolumeAttachment.instance_id) == instance_id)
    return int(session.execute(highest).scalar_one() or 0) + 1


_PREFIX: Final = {"scsi": "sd", "sata": "sd", "usb": "sd", "ide": "hd"}
"""What Linux calls the disks of a bus; `vd` of any other."""


def _next_device(session: Session, instance: Instance, bus: str) -> str:
    """The first name that no disk of the instance has: its root disk's and its local disks' come first, as in nova."""
    local = bool(instance.image_id) + bool(instance.ephemeral_gb) + bool(instance.swap_mb)
    taken = {one.device[-1:] for one in of_instance(session, instance.id)} | set("abc"[:local])
    letter = next((letter for letter in "abcdefghijklmnopqrstuvwxyz" if letter not in taken), "")
    if not letter:
        raise Conflict(f"{instance.name} has all the disks it can have", hint="Detach one first.")
    return f"/dev/{_PREFIX.get(bus, 'vd')}{letter}"


def _called(volume: Volume) -> str:
    return volume.name or volume.id
