"""When what was asked of the networking is so: objects turn ACTIVE as the hosts that carry them confirm."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import delete, update
from sqlmodel import Session, col

from core.hosts.table import Host
from core.network.fabric import gateways
from core.network.fabric.table import HostNetworking, NetworkingPending
from core.network.tables import FloatingIP, Port, Router
from core.sql import select


class Waiting(NamedTuple):
    """A host that has not confirmed something yet."""

    host: str
    """Its name."""
    reason: str
    """Why not, for a person."""
    hint: str = ""
    """The next act."""


def confirm(
    session: Session, host_id: str, generation: int, digest: str, *, lacks: dict[str, Any] | None = None
) -> None:
    """The host has this generation of its document; what waited for it goes on. `lacks` is what keeps the document,
    though it is on the host, from being of use: {type, title, hint}."""
    row = session.get(HostNetworking, host_id, populate_existing=True)
    if row is None or row.applied > generation:
        return
    row.applied, row.digest, row.error = generation, digest, lacks
    session.flush()
    if row.generation == generation:
        gateways.release(session, host_id)
    here = (col(NetworkingPending.host_id) == host_id, col(NetworkingPending.generation) <= generation)
    done = session.execute(delete(NetworkingPending).where(*here).returning(col(NetworkingPending.object_id)))
    settle(session, done.scalars())


def refused(session: Session, host_id: str, error: dict[str, Any], *, lasting: bool) -> None:
    """The host did not take its document. What waits for that is in ERROR when trying again is no help (`lasting`)."""
    row = session.get(HostNetworking, host_id, populate_existing=True)
    if row is None:
        return
    row.error = error
    session.flush()
    if lasting:
        waiting = select(NetworkingPending.object_id).where(col(NetworkingPending.host_id) == host_id)
        session.execute(
            update(FloatingIP)
            .where(col(FloatingIP.id).in_(waiting), col(FloatingIP.port_id).is_not(None))
            .values(status="ERROR")
            .execution_options(synchronize_session=False)
        )


def host_gone(session: Session, host_id: str) -> None:
    """A dead host delays nobody: what waited for it alone is ACTIVE, and shown as pending there."""
    waiting = select(NetworkingPending.object_id).where(col(NetworkingPending.host_id) == host_id)
    settle(session, session.execute(waiting).scalars())


def settle(session: Session, objects: Iterable[str]) -> None:
    """ACTIVE, for those of these objects (ports, routers, floating IPs) that no living host still has to hear of.

    A floating IP follows its port: it is ACTIVE once the port's host has both.
    """
    ids = set(objects)
    if not ids:
        return
    waiting = select(NetworkingPending.object_id).where(
        col(NetworkingPending.object_id).in_(ids),
        col(Host.id) == col(NetworkingPending.host_id),
        col(Host.state) == "up",
    )
    ready = ids - set(session.execute(waiting).scalars())
    if not ready:
        return
    session.flush()
    carried = col(Port.device_owner).startswith("network:") | col(Port.host_id).is_not(None)
    plugged = select(Port.id).where(col(Port.host_id).is_not(None))
    changes = (
        (Port, col(Port.id).in_(ready), carried, col(Port.admin_state_up)),
        (Router, col(Router.id).in_(ready), col(Router.admin_state_up)),
        (
            FloatingIP,
            col(FloatingIP.id).in_(ready) | col(FloatingIP.port_id).in_(ready),
            col(FloatingIP.port_id).in_(plugged),
        ),
    )
    for table, *which in changes:
        session.execute(update(table).where(*which, col(table.status) != "ACTIVE").values(status="ACTIVE"))


def unplugged(session: Session, ports: Iterable[str]) -> None:
    """These ports are on no host now: nobody is waited for, and what floats on them is DOWN."""
    ids = set(ports)
    session.execute(delete(NetworkingPending).where(col(NetworkingPending.object_id).in_(ids)))
    session.execute(update(FloatingIP).where(col(FloatingIP.port_id).in_(ids)).values(status="DOWN"))


def pending_on(session: Session, object_id: str) -> list[str]:
    """Names of the hosts that have not confirmed this object yet."""
    return [waiting.host for waiting in pending(session, object_id)]


def pending(session: Session, object_id: str) -> list[Waiting]:
    """The hosts that have not confirmed this object yet, by name, each with the reason."""
    query = (
        select(Host, HostNetworking)
        .where(
            col(NetworkingPending.object_id) == object_id,
            col(Host.id) == col(NetworkingPending.host_id),
            col(HostNetworking.host_id) == col(Host.id),
        )
        .order_by(col(Host.name))
    )
    found = []
    for host, row in session.execute(query).all():
        if host.state != "up":
            found.append(Waiting(host.name, f"down: {host.state_reason}", "It is told when it is back."))
        elif row.error:
            found.append(Waiting(host.name, row.error["title"], row.error.get("hint", "")))
        else:
            found.append(Waiting(host.name, "being told"))
    return found
