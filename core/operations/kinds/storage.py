"""What several kinds do to a host's volumes and snapshots: tell it what one shall be, and take what it says.

The generation is noted before it is sent, so that a repeat after a crash is a repeat to the host as well; only a spec
that changed meanwhile gets a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlmodel import Session

from core.operations import operations
from core.operations.work import Work
from core.store import now
from core.volumes import attachments, guards, placement, wire
from core.volumes.tables import Snapshot, Volume
from hostd import spec as wire_types
from hostd.spec import Applied, Apply, ObjectKind, SnapshotSpec, VolumeSpec, Want, dump

SLOW: Final = 300.0
"""Seconds until an answer is given up as unknown."""

COPY: Final = 6 * 3600.0
"""The same for what may copy a whole disk on the host."""


async def converge_volume(
    work: Work,
    host_id: str,
    volume_id: str,
    *,
    note: str,
    spec: Callable[[Session, Volume], VolumeSpec] = wire.volume,
    deadline: float = SLOW,
) -> Applied:
    """Tell a host what a volume shall be: what `spec` makes of its row. `note` names what this operation tells it."""

    def allot(session: Session) -> tuple[dict[str, Any], int]:
        row = session.get_one(Volume, volume_id, populate_existing=True)
        return _allot(session, work, row, host_id, note, dump(spec(session, row)))

    plain, generation = await work.write(allot)
    return await _apply(work, host_id, ObjectKind.VOLUME, volume_id, generation, plain, deadline)


async def converge_snapshot(
    work: Work,
    host_id: str,
    snapshot_id: str,
    *,
    note: str,
    spec: Callable[[Session, Snapshot], SnapshotSpec] = wire.snapshot,
    deadline: float = SLOW,
) -> Applied:
    """The same for a snapshot."""

    def allot(session: Session) -> tuple[dict[str, Any], int]:
        row = session.get_one(Snapshot, snapshot_id, populate_existing=True)
        return _allot(session, work, row, host_id, note, dump(spec(session, row)))

    plain, generation = await work.write(allot)
    return await _apply(work, host_id, ObjectKind.SNAPSHOT, snapshot_id, generation, plain, deadline)


async def acting(work: Work, volume_id: str, *, told: str, besides: str | None = None) -> str:
    """The operation's host; or, when that does not reach the volume any more, was told nothing under the note `told`,
    and any other would do, one of those: the operation's host from then on. `besides` is another backend to be reached.

    Raises Unavailable when there is none.
    """

    def choose(session: Session) -> str:
        volume = session.get_one(Volume, volume_id, populate_existing=True)
        bound = volume.host_id is not None or attachments.of_volume(session, volume_id)
        if told in work.data or bound:
            return work.operation.lane
        wanted = {volume.backend_id} | ({besides} if besides else set())
        if all(work.operation.lane in placement.reach(session, one) for one in wanted):
            return work.operation.lane
        work.operation.lane = placement.choose_actor(session, wanted)
        operations.write(session, work.operation, lane=work.operation.lane)
        return work.operation.lane

    return await work.write(choose)


async def make_snapshot(work: Work, snapshot_id: str, *, quiesce: bool = False) -> None:
    """Take a snapshot whose row is there, hidden or not, on the host that acts for its volume: it is `available`
    afterwards, and tells whether it was quiesced. Idempotent; may be part of another operation's step."""
    host_id = await work.write(lambda session: _acting(session, work, snapshot_id))
    applied = await converge_snapshot(
        work,
        host_id,
        snapshot_id,
        note=f"take {snapshot_id}",
        spec=lambda session, row: wire.snapshot(session, row, quiesce=quiesce),
    )

    def taken(session: Session) -> None:
        row = session.get_one(Snapshot, snapshot_id, populate_existing=True)
        if row.status == "creating":
            row.status, row.updated_at = "available", now(session)
            row.quiesced, row.fault = applied.detail.get("quiesced"), None
        _forget_acting(work, snapshot_id)
        session.flush()

    await work.write(taken)


async def untake_snapshot(work: Work, snapshot_id: str) -> None:
    """Take back what `make_snapshot` made on the host; the row is the caller's."""
    host_id = await work.write(lambda session: _acting(session, work, snapshot_id))
    await _tell_absent(work, host_id, snapshot_id)


async def drop_snapshot(work: Work, snapshot_id: str) -> None:
    """Delete a snapshot, hidden or not: its row as well when its host has. Idempotent."""

    def begin(session: Session) -> str | None:
        row = session.get_one(Snapshot, snapshot_id, populate_existing=True)
        if row.deleted_at:
            return None
        row.status, row.updated_at = "deleting", now(session)
        return _acting(session, work, snapshot_id)

    host_id = await work.write(begin)
    if host_id is None:
        return
    await _tell_absent(work, host_id, snapshot_id)

    def dropped(session: Session) -> None:
        row = session.get_one(Snapshot, snapshot_id, populate_existing=True)
        row.status, row.deleted_at = "deleted", now(session)
        row.updated_at = row.deleted_at
        _forget_acting(work, snapshot_id)
        session.flush()

    await work.write(dropped)


async def _tell_absent(work: Work, host_id: str, snapshot_id: str) -> None:
    await converge_snapshot(
        work,
        host_id,
        snapshot_id,
        note=f"drop {snapshot_id}",
        spec=lambda session, row: wire.snapshot(session, row, want=Want.ABSENT),
        deadline=COPY,
    )


def rest(session: Session, volume_id: str, *, status: str | None = None, fault: dict[str, Any] | None = None) -> Volume:
    """The task is over, as `guards.settle`; but a volume whose deletion was asked for meanwhile stays `deleting`."""
    volume = session.get_one(Volume, volume_id, populate_existing=True)
    if volume.status != guards.DELETING and not volume.deleted_at:
        guards.settle(session, volume, status=status, fault=fault)
    return volume


def _acting(session: Session, work: Work, snapshot_id: str) -> str:
    """The host that acts for a snapshot's volume: chosen once, for while a snapshot is on its way in or out its volume
    goes nowhere else. Raises Unavailable."""
    key = f"at {snapshot_id}"
    if key not in work.data:
        row = session.get_one(Snapshot, snapshot_id, populate_existing=True)
        volume = session.get_one(Volume, row.volume_id, populate_existing=True)
        work.note(**{key: placement.actor(session, volume)})
    return str(work.data[key])


def _forget_acting(work: Work, snapshot_id: str) -> None:
    """What it is next it may be on another host."""
    work.operation.data = {key: value for key, value in work.data.items() if key != f"at {snapshot_id}"}


def _allot(
    session: Session, work: Work, row: Volume | Snapshot, host_id: str, note: str, plain: dict[str, Any]
) -> tuple[dict[str, Any], int]:
    given = {"host": host_id, "digest": wire_types.digest(plain)}
    earlier = work.data.get(note, {})
    if {key: earlier.get(key) for key in given} == given:
        return plain, int(earlier["generation"])
    row.generation += 1
    session.flush()
    work.note(**{note: {**given, "generation": row.generation}})
    return plain, row.generation


async def _apply(
    work: Work, host_id: str, kind: ObjectKind, uuid: str, generation: int, plain: dict[str, Any], deadline: float
) -> Applied:
    body = Apply(kind=kind, uuid=uuid, generation=generation, spec=plain)
    applied: Applied = await work.hosts.get(host_id).call("apply", body, deadline=deadline)
    return applied
