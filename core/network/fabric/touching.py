"""Telling the engine that some hosts' documents are new: in the transaction of the verb that makes them so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import delete, insert, update
from sqlmodel import Session, col

from core.network.fabric import gateways
from core.network.fabric.reach import hosts_reaching, on_host, with_groups
from core.network.fabric.settling import settle
from core.network.fabric.table import HostNetworking, NetworkingPending
from core.sql import select
from core.store import now


def touch(
    session: Session,
    *,
    networks: Iterable[str] = (),
    groups: Iterable[str] = (),
    hosts: Iterable[str] = (),
    pending: Iterable[str] = (),
) -> set[str]:
    """These networks or security groups change, or change for these hosts: every host that carries them is told.

    Call it after what is added and before what is taken away, in the same transaction: which hosts are reached is read
    from the database as it is. What is in `pending` becomes ACTIVE when those hosts have confirmed. Answers the hosts.
    Raises Conflict when a host needs an address of its own on an external network that has none left.
    """
    networks = set(networks)
    if networks:
        gateways.provide(session, networks)
    reached = set(hosts) | hosts_reaching(session, networks) | with_groups(session, groups)
    if not reached:
        settle(session, pending)
        return reached
    generations = grow(session, reached)
    _note_pending(session, generations, sorted(set(pending)))
    return reached


def touch_host(session: Session, host_id: str) -> set[str]:
    """How others reach this host changes, or what it has itself: it is told, and all that share networks with it."""
    return touch(session, networks=on_host(session, host_id), hosts=[host_id])


def grow(session: Session, hosts: Iterable[str], *, digest: bool = True) -> dict[str, int]:
    """One more generation for each of these hosts: answers them. Without `digest` what they confirmed is forgotten, so
    that even the same document is sent again."""
    wanted, at = set(hosts), now(session)
    values = {"generation": col(HostNetworking.generation) + 1, "changed_at": at} | ({} if digest else {"digest": ""})
    grown = session.execute(
        update(HostNetworking)
        .where(col(HostNetworking.host_id).in_(wanted))
        .values(values)
        .returning(col(HostNetworking.host_id), col(HostNetworking.generation))
        .execution_options(synchronize_session=False)
    )
    generations = {row[0]: row[1] for row in grown.all()}
    if fresh := sorted(wanted - generations.keys()):
        rows = [{"host_id": host, "generation": 1, "applied": 0, "digest": "", "changed_at": at} for host in fresh]
        session.execute(insert(HostNetworking), rows)
        generations |= dict.fromkeys(fresh, 1)
    session.info["enqueued"] = True  # the engine is rung when this commits
    return generations


def forget(session: Session, host_id: str) -> None:
    """The host is not of this cloud any more: nobody waits for it, and its addresses are free."""
    waiting = select(NetworkingPending.object_id).where(col(NetworkingPending.host_id) == host_id)
    objects = set(session.execute(waiting).scalars())
    for table, column in ((NetworkingPending, NetworkingPending.host_id), (HostNetworking, HostNetworking.host_id)):
        session.execute(delete(table).where(col(column) == host_id))
    gateways.drop(session, host_id)
    settle(session, objects)


def _note_pending(session: Session, generations: Mapping[str, int], objects: list[str]) -> None:
    if not objects:
        return
    session.execute(
        delete(NetworkingPending)
        .where(col(NetworkingPending.object_id).in_(objects), col(NetworkingPending.host_id).in_(generations))
        .execution_options(synchronize_session=False)
    )
    rows = [
        {"object_id": uuid, "host_id": host_id, "generation": generation}
        for uuid in objects
        for host_id, generation in sorted(generations.items())
    ]
    session.execute(insert(NetworkingPending), rows)
