"""Transfers: a volume handed from one project to another, by a key that is shown once and kept only as its hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from sqlmodel import Session, col

from core import audit, names
from core.context import Context
from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.identity.policy import authorize
from core.sql import select
from core.store import clock_of, now
from core.volumes import access, guards, snapshots, types, usage
from core.volumes.tables import Volume, VolumeTransfer, VolumeType

_KEY_BYTES: Final = 16
_SCRYPT: Final = {"n": 1 << 14, "r": 8, "p": 1, "maxmem": 64 << 20, "dklen": 32}


def create(session: Session, ctx: Context, *, volume: str, name: str = "") -> tuple[VolumeTransfer, str]:
    """Offer a volume: (the offer, its key, which nobody can tell again). It is awaiting-transfer until it is taken, or
    the offer is deleted. Raises Conflict unless it is available and without snapshots."""
    authorize(ctx, "volume:transfer")
    if name:
        names.check(name, "transfer")
    offered = access.find(session, ctx, volume, rule="volume:transfer")
    if any(not one.hidden for one in snapshots.of_volume(session, offered.id)):
        raise Conflict(f"volume {guards.called(offered)} has snapshots", hint="Delete them first.")
    guards.begin(session, ctx, offered, "transfer")
    key, salt = secrets.token_hex(_KEY_BYTES), secrets.token_hex(_KEY_BYTES)
    transfer = VolumeTransfer(
        id=clock_of(session).uuid(),
        name=name,
        volume_id=offered.id,
        project_id=offered.project_id,
        salt=salt,
        key_hash=_hash(key, salt),
        created_at=now(session),
    )
    session.add(transfer)
    session.flush()
    audit.record(session, ctx, transfer, kind="transfer", action="create", after={"volume": guards.called(offered)})
    return transfer, key


def accept(session: Session, ctx: Context, id: str, *, auth_key: str) -> VolumeTransfer:
    """Take the volume that is offered; the answer is the offer, which is over. Raises NotFound; Forbidden for a wrong
    key; QuotaExceeded of the taker; Invalid for the project that offers it, or a type the taker may not use."""
    authorize(ctx, "volume:transfer")
    transfer = session.get(VolumeTransfer, id, populate_existing=True)
    if transfer is None:
        raise NotFound(f"no transfer {id!r}", hint="Check the id that came with the key.")
    if not hmac.compare_digest(_hash(auth_key, transfer.salt), transfer.key_hash):
        raise Forbidden("this is not the key of that transfer", hint="Ask for a new transfer: a key is shown once.")
    volume = session.get_one(Volume, transfer.volume_id, populate_existing=True)
    if volume.project_id == ctx.project_id:
        raise Invalid(f"volume {guards.called(volume)} is this project's already", hint="Delete the transfer.")
    type = _usable(session, ctx, volume)
    usage.check_size(session, ctx.project_id, volume.size_gb)
    usage.check(session, ctx, ctx.project_id, type=type, volumes=1, gigabytes=volume.size_gb)
    before = {"project_id": volume.project_id}
    guards.settle(session, volume)
    volume.project_id, volume.user_id, volume.updated_at = ctx.project_id, ctx.user_id, now(session)
    for one in snapshots.of_volume(session, volume.id):  # hidden ones: what they are of decides whose they are
        one.project_id = ctx.project_id
    session.delete(transfer)
    session.flush()
    after = {"project_id": ctx.project_id}
    # Both projects see it in their trail.
    audit.record(session, ctx, transfer, kind="transfer", action="accept", before=before, after=after)
    audit.record(session, ctx, volume, kind="volume", action="transfer", before=before, after=after)
    return transfer


def delete(session: Session, ctx: Context, id_or_name: str) -> None:
    """Take an offer back: the volume is available again."""
    authorize(ctx, "volume:transfer")
    transfer = find(session, ctx, id_or_name)
    guards.settle(session, session.get_one(Volume, transfer.volume_id, populate_existing=True))
    session.delete(transfer)
    session.flush()
    audit.record(session, ctx, transfer, kind="transfer", action="delete")


def find(session: Session, ctx: Context, id_or_name: str) -> VolumeTransfer:
    """One of the project's own offers. Raises NotFound, Invalid."""
    authorize(ctx, "volume:list")
    wanted = (col(VolumeTransfer.id) == id_or_name) | (col(VolumeTransfer.name) == id_or_name)
    query = select(VolumeTransfer).where(wanted)
    if not ctx.is_admin:
        query = query.where(col(VolumeTransfer.project_id) == ctx.project_id)
    rows = list(session.execute(query.limit(2)).scalars()) if id_or_name else []
    if not rows:
        raise NotFound(f"no transfer {id_or_name!r}", hint="skydeck volume transfer request list shows them.")
    if len(rows) > 1:
        raise Invalid(f"several transfers are named {id_or_name!r}", hint="Use the id.")
    return rows[0]


def _usable(session: Session, ctx: Context, volume: Volume) -> VolumeType | None:
    type = session.get(VolumeType, volume.type_id) if volume.type_id else None
    if type is not None and not type.is_public:
        query = select(VolumeType.id).where(col(VolumeType.id) == type.id, types.visible(ctx))
        if session.execute(query).first() is None:
            raise Invalid("the volume is of a type that this project may not use", hint="An admin can give it access.")
    return type


def _hash(key: str, salt: str) -> str:
    return hashlib.scrypt(key.encode(), salt=bytes.fromhex(salt), **_SCRYPT).hex()
