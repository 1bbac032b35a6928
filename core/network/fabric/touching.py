"""Which hosts a change reaches, and telling the engine that their documents are new."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import insert, or_, update
from sqlmodel import Session, col

from core.network.fabric.settling import settle
from core.network.fabric.table import HostNetworking, NetworkingPending
from core.network.tables import ROUTER_INTERFACE, Port, PortSecurityGroup, Router, SecurityGroupRule
from core.sql import select
from core.store import now


def hosts_reaching(session: Session, networks: Iterable[str]) -> set[str]:
    """The hosts that carry any of these networks: those with a guest's port on it, or on one joined to it by routers.

    Of an external network: the hosts of the networks whose routers go out by it.
    """
    return _with_ports(session, joined(session, networks))


def joined(session: Session, networks: Iterable[str]) -> set[str]:
    """These networks, those behind routers that go out by one of them, and all that routers join to them."""
    found = set(networks)
    if not found:
        return found
    behind = select(Port.network_id).where(
        col(Port.device_owner) == ROUTER_INTERFACE,
        col(Port.device_id).in_(select(Router.id).where(col(Router.external_network_id).in_(found))),
    )
    found |= set(session.execute(behind).scalars())
    edge = found
    while edge:
        routers = select(Port.device_id).where(
            col(Port.device_owner) == ROUTER_INTERFACE, col(Port.network_id).in_(edge)
        )
        next_ones = select(Port.network_id).where(
            col(Port.device_owner) == ROUTER_INTERFACE, col(Port.device_id).in_(routers)
        )
        edge = set(session.execute(next_ones).scalars()) - found
        found |= edge
    return found


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
    """
    reached = set(hosts) | hosts_reaching(session, networks) | _with_groups(session, groups)
    if not reached:
        settle(session, pending)
        return reached
    at = now(session)
    known = set(
        session.execute(select(HostNetworking.host_id).where(col(HostNetworking.host_id).in_(reached))).scalars()
    )
    session.execute(
        update(HostNetworking)
        .where(col(HostNetworking.host_id).in_(known))
        .values(generation=col(HostNetworking.generation) + 1, changed_at=at)
    )
    if fresh := sorted(reached - known):
        rows = [{"host_id": host, "generation": 1, "applied": 0, "digest": "", "changed_at": at} for host in fresh]
        session.execute(insert(HostNetworking), rows)
    _note_pending(session, reached, sorted(set(pending)))
    session.info["enqueued"] = True  # the engine is rung when this commits
    return reached


def _note_pending(session: Session, hosts: set[str], objects: list[str]) -> None:
    if not objects:
        return
    generations = session.execute(
        select(HostNetworking.host_id, HostNetworking.generation).where(col(HostNetworking.host_id).in_(hosts))
    ).all()
    for uuid in objects:
        for host_id, generation in generations:
            session.merge(NetworkingPending(object_id=uuid, host_id=host_id, generation=generation))
    session.flush()


def _with_ports(session: Session, networks: set[str]) -> set[str]:
    if not networks:
        return set()
    bound = select(Port.host_id).where(
        col(Port.network_id).in_(networks),
        col(Port.host_id).is_not(None),
        col(Port.device_owner).startswith("compute:"),
    )
    return {host for host in session.execute(bound.distinct()).scalars() if host}


def _with_groups(session: Session, groups: Iterable[str]) -> set[str]:
    """Hosts with ports in these groups, or in groups whose rules name these as the other side."""
    named = set(groups)
    if not named:
        return set()
    naming = select(SecurityGroupRule.security_group_id).where(col(SecurityGroupRule.remote_group_id).in_(named))
    bound = select(Port.host_id).where(
        col(Port.id) == col(PortSecurityGroup.port_id),
        col(Port.host_id).is_not(None),
        or_(col(PortSecurityGroup.security_group_id).in_(named), col(PortSecurityGroup.security_group_id).in_(naming)),
    )
    return {host for host in session.execute(bound.distinct()).scalars() if host}
