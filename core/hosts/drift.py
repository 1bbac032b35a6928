"""Drift: what a host has against what the database says it has. Each difference is a finding, with its evidence and
one safe act; nothing is repaired behind a person's back, except the database's own idea of a guest's power state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sqlalchemy import JSON, BigInteger, Column, Index
from sqlmodel import Field, Session, SQLModel, col

from core.compute.instances import states
from core.compute.instances.table import Instance
from core.hosts.table import Host
from core.network.fabric import HostNetworking
from core.operations import operations
from core.sql import select
from core.store import clock_of, now
from core.volumes import stored
from hostd.spec import DomainSeen, Observation, PowerState

BEGAN: Final = ""
"""The key of a stamp's own time."""


class Finding(SQLModel, table=True):
    """A difference that lasts. Resolved when a later look no longer sees it."""

    __table_args__ = (Index("finding_open", "resolved_at", "host_id"),)

    id: str = Field(primary_key=True)
    kind: str
    """A key of FINDINGS."""
    host_id: str = Field(index=True)
    object_id: str = ""
    object_name: str = ""
    title: str
    """What is different, in one line."""
    act: str = ""
    """The one safe act, as a command."""
    evidence: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON))
    first_seen: int = Field(sa_type=BigInteger)
    last_seen: int = Field(sa_type=BigInteger)
    resolved_at: int | None = Field(default=None, sa_type=BigInteger)


class Difference(NamedTuple):
    """One difference, as it becomes a finding."""

    kind: str
    object_id: str
    object_name: str
    title: str
    act: str
    evidence: dict[str, Any]


def compare(session: Session, host: Host, seen: Observation, stamps: dict[str, int]) -> None:
    """Note every difference between a host and the database; resolve those no longer seen.

    `stamps` are those of `stamp` from before the host was looked at: what has changed since, or has an operation that
    was at work since, is not compared, for the look is older than it.
    """
    found = {(one.kind, one.object_id): one for one in _differences(session, host, seen, stamps)}
    at = now(session)
    known = session.execute(
        select(Finding).where(col(Finding.host_id) == host.id, col(Finding.resolved_at).is_(None))
    ).scalars()
    for finding in known:
        fresh = found.pop((finding.kind, finding.object_id), None)
        if fresh is None:
            finding.resolved_at = at
        else:
            finding.last_seen = at
            finding.evidence = fresh.evidence
    for one in found.values():
        session.add(Finding(id=clock_of(session).uuid(), host_id=host.id, first_seen=at, last_seen=at, **one._asdict()))
    session.flush()


def stamp(session: Session, host_id: str) -> dict[str, int]:
    """What changes whenever the database's idea of an object of this host does, by id: when each instance last changed,
    deleted ones too, the generation of its networking that the host has confirmed, and the time as BEGAN."""
    instances = select(Instance.id, Instance.updated_at).where(col(Instance.host_id) == host_id)
    networking = select(HostNetworking.host_id, HostNetworking.applied).where(col(HostNetworking.host_id) == host_id)
    return {BEGAN: now(session)} | dict(session.execute(instances).all()) | dict(session.execute(networking).all())


def resolve(session: Session, *, host_id: str, object_id: str) -> None:
    """An operation has just made the object right on that host. A look that sees otherwise finds it anew."""
    open_ones = select(Finding).where(
        col(Finding.host_id) == host_id, col(Finding.object_id) == object_id, col(Finding.resolved_at).is_(None)
    )
    for finding in session.execute(open_ones).scalars():
        finding.resolved_at = now(session)
    session.flush()


def _differences(session: Session, host: Host, seen: Observation, stamps: dict[str, int]) -> Iterator[Difference]:
    domains = {domain.uuid: domain for domain in seen.domains if domain.owned}
    rows = session.execute(
        select(Instance)
        .where(col(Instance.host_id) == host.id, col(Instance.deleted_at) == 0)
        .execution_options(populate_existing=True)
    ).scalars()
    mine: set[str] = set()
    for instance in rows:
        mine.add(instance.id)
        if stamps.get(instance.id) != instance.updated_at:
            continue
        if instance.task_state is not None or operations.at_work(session, instance.id, since=stamps[BEGAN]):
            continue
        domain = domains.get(instance.id)
        if domain is None:
            if instance.vm_state != states.ERROR:
                yield Difference(
                    "guest_missing",
                    instance.id,
                    instance.name,
                    f"{instance.name} is {instance.status} here, and host {host.name} does not have it",
                    f"skydeck server reboot --hard {instance.id}",
                    {"vm_state": instance.vm_state, "generation": instance.generation},
                )
            continue
        yield from _of_guest(host, instance, domain)
    for uuid, domain in domains.items():
        if uuid in mine or operations.at_work(session, uuid, since=stamps[BEGAN]):
            continue
        row = session.get(Instance, uuid, populate_existing=True)
        if row is None or stamps.get(uuid, row.updated_at) == row.updated_at:
            yield _stranger(host, domain, row)
    for problem in seen.problems:
        yield Difference("host_problem", problem, host.name, f"host {host.name}: {problem}", "", {})
    told = session.get(HostNetworking, host.id, populate_existing=True)
    if told is not None and told.error:
        yield Difference(
            "networking_refused",
            host.id,
            host.name,
            f"networking of host {host.name}: {told.error['title']}",
            told.error.get("hint", ""),
            {"generation": told.generation, "applied": told.applied},
        )
    if told is None or told.generation == told.applied == stamps.get(host.id):
        yield from _of_networking(host, seen)
    yield from _of_volumes(session, host)


def _of_networking(host: Host, seen: Observation) -> Iterator[Difference]:
    act = f"skydeck host repair {host.name} --networking"
    broken = [network for network in seen.networks if not network.healthy]
    for network in broken:
        yield Difference(
            "network_broken",
            network.uuid,
            network.uuid[:8],
            f"network {network.uuid[:8]} on host {host.name}: {network.detail}",
            act,
            {},
        )
    whole = seen.networking
    if whole is not None and not whole.healthy and not broken:
        yield Difference(
            "networking_broken",
            host.id,
            host.name,
            f"networking of host {host.name}: {whole.detail}",
            act,
            {"generation": whole.generation},
        )
    for check in whole.checks if whole is not None else ():
        if not check.ok:
            yield Difference("host_check", check.name, host.name, f"host {host.name}: {check.detail}", check.hint, {})


def _of_volumes(session: Session, host: Host) -> Iterator[Difference]:
    """Of the pools that this host speaks for. Shown, and left alone: there is no safe act for data."""
    for pool in stored.compare(session, host_id=host.id):
        where = f"backend {pool.backend.name} on host {host.name}"
        for volume in pool.missing:
            called = volume.name or volume.id
            title = f"volume {called} is {volume.status} here, and {where} does not have it"
            yield Difference(
                "volume_missing", volume.id, called, title, "", {"status": volume.status, "size_gb": volume.size_gb}
            )
        for stranger in pool.unknown:
            title = f"{where} has volume {stranger.uuid}, but {stranger.why}"
            yield Difference(
                "volume_unknown", stranger.uuid, stranger.uuid[:8], title, "", {"allocated": stranger.allocated}
            )


def _of_guest(host: Host, instance: Instance, domain: DomainSeen) -> Iterator[Difference]:
    evidence = {"power": domain.power.value, "vm_state": instance.vm_state, "generation": domain.generation}
    if instance.vm_state == states.STOPPED and domain.power is PowerState.RUNNING:
        yield Difference(
            "started_elsewhere",
            instance.id,
            instance.name,
            f"{instance.name} is SHUTOFF here, and runs on host {host.name}: somebody started it there",
            f"skydeck server start {instance.id}",
            evidence,
        )
    if domain.generation is not None and domain.generation > instance.generation:
        yield Difference(
            "generation_ahead",
            instance.id,
            instance.name,
            f"host {host.name} has generation {domain.generation} of {instance.name}, given out was "
            f"{instance.generation}: the database is older than the host",
            "",
            evidence,
        )


def _stranger(host: Host, domain: DomainSeen, row: Instance | None) -> Difference:
    """A guest of ours on a host that should not have it. It is kept: nothing is deleted that was not asked for."""
    name = row.name if row else domain.name
    if row is None:
        why = "no instance of that id is known"
    elif row.deleted_at:
        why = "it was deleted"
    else:
        why = "it lives on another host"
    return Difference(
        "guest_unknown",
        domain.uuid,
        name,
        f"host {host.name} has guest {name}, but {why}",
        f"skydeck finding reap {domain.uuid}" if row is not None and row.deleted_at else "",
        {"power": domain.power.value, "quarantined": domain.quarantined},
    )
