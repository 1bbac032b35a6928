"""Another type for a volume: where its backend will do, its type and QoS change, under a guest as well; where it will
not, the volume is copied to a backend that does, when it was allowed to and nobody has it."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from sqlmodel import Session

from core import audit
from core.config import Config
from core.context import Context
from core.errors import Conflict, Invalid
from core.identity import quotas
from core.operations.operations import Operation
from core.volumes import access, guards, placement, snapshots, types
from core.volumes.placement import Request, filters
from core.volumes.tables import Volume, VolumeType

POLICIES: Final = ("never", "on-demand")


def retype(
    session: Session, ctx: Context, config: Config, id_or_name: str, *, type: str, migration_policy: str = "never"
) -> Operation:
    """Raises Invalid for the type it has; Conflict where it must be copied and may not be, has snapshots, or is in use;
    QuotaExceeded, NoValidHost, NotFound."""
    if migration_policy not in POLICIES:
        raise Invalid(f"unknown migration policy {migration_policy!r}", hint=f"One of {', '.join(POLICIES)}.")
    volume = access.find(session, ctx, id_or_name, rule="volume:set")
    to = types.find(session, ctx, type)
    if to.id == volume.type_id:
        raise Invalid(f"volume {guards.called(volume)} is of type {to.name} already")
    _check_quota(session, ctx, volume, to)
    shared = types.wants(to.extra_specs, "multiattach")
    if shared != volume.multiattach and volume.status != guards.AVAILABLE:
        raise Conflict(
            f"volume {guards.called(volume)} is {volume.status}: whether several guests may have it changes only while "
            "none has",
            hint="Detach it first.",
        )
    before = {"type": volume.type_id, "multiattach": volume.multiattach}
    data: dict[str, Any] = {"before": before}
    why_not = _misfit(session, volume, to)
    if why_not is None:
        lane = placement.actor(session, volume)
    else:
        if migration_policy == "never":
            raise Conflict(
                f"type {to.name} needs another backend: {why_not}",
                hint="--migration-policy on-demand copies the volume there.",
            )
        lane, move = _move(session, config, volume, to)
        data["move"] = move
    guards.begin(session, ctx, volume, "retype")
    # Counted as the new type's from now on.
    volume.type_id, volume.multiattach = to.id, shared
    session.flush()
    operation = access.enqueue(
        session, ctx, volume, "retype", lane=lane, args={"type": to.name, "policy": migration_policy}, data=data
    )
    audit.record(session, ctx, volume, kind="volume", action="retype", before=before, after={"type": to.id})
    return operation


def _misfit(session: Session, volume: Volume, type: VolumeType) -> str | None:
    """Why the place where it is will not do for the type; None when it will. It is there: its room is no matter."""
    request = Request(size_gb=0, extra_specs=type.extra_specs)
    for place in placement.look(session):
        if (place.backend_id, place.host_id) == (volume.backend_id, volume.host_id):
            for name in ("backend_name", "capabilities"):
                if why := filters.FILTERS[name](request, place):
                    return f"{place.name}: {why}"
    return None


def _move(session: Session, config: Config, volume: Volume, type: VolumeType) -> tuple[str, dict[str, Any]]:
    """(the acting host, where to: {backend, host, from_backend, from_host})."""
    if volume.status != guards.AVAILABLE:
        raise Conflict(
            f"volume {guards.called(volume)} is {volume.status}: it is copied to another backend only while nobody has "
            "it",
            hint="Detach it first.",
        )
    shown = [one for one in snapshots.of_volume(session, volume.id) if not one.hidden]
    if shown:
        raise Conflict(
            f"volume {guards.called(volume)} has {len(shown)} snapshots, which stay where they are",
            hint="Delete them first.",
        )
    request = Request(
        size_gb=volume.size_gb,
        extra_specs=type.extra_specs,
        zone=volume.availability_zone or None,
        host=volume.host_id,
        near=None if volume.host_id else frozenset(placement.reach(session, volume.backend_id)),
        avoid=frozenset({volume.backend_id}),
    )
    backend, holder, funnel = placement.place(session, config, request)
    lane = volume.host_id or holder or placement.choose_actor(session, [volume.backend_id, backend.id])
    return lane, {
        "backend": backend.id,
        "host": holder,
        "from_backend": volume.backend_id,
        "from_host": volume.host_id,
        "funnel": funnel.to_json(),
    }


def _check_quota(session: Session, ctx: Context, volume: Volume, to: VolumeType) -> None:
    mine = [one for one in snapshots.of_volume(session, volume.id) if not one.hidden]
    asking = dataclasses.replace(ctx, project_id=volume.project_id)
    of_type = {
        f"volumes_{to.name}": 1,
        f"snapshots_{to.name}": len(mine),
        f"gigabytes_{to.name}": volume.size_gb + sum(one.size_gb for one in mine),
    }
    quotas.check(session, asking, **of_type)
