"""Ports as launches, routers and services use them: made with their addresses, bound to a host, given back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col

from core.errors import Conflict
from core.network import addresses as ips
from core.network import fabric, macs, security_groups
from core.network.fabric import NetworkingPending
from core.network.tables import GUEST, FixedIP, FloatingIP, Network, Port, PortSecurityGroup
from core.sql import select
from core.store import clock_of, now


def create(
    session: Session,
    *,
    project_id: str,
    network_id: str,
    fixed: Mapping[str, str] | Iterable[tuple[str, str]],
    owner: str,
    device_id: str,
    name: str = "",
    dns_name: str = "",
    host_id: str | None = None,
    mac: str | None = None,
    groups: Sequence[str] | None = None,
    **values: Any,
) -> Port:
    """A port with the addresses in `fixed` (subnet id and IP), in security groups given by id.

    A guest's or a user's port is in its project's default group when `groups` is None and port security on; what is
    made as a guest's goes with the guest. `values` are other fields of the row. Quotas, touching hosts and telling the
    audit trail are the caller's. Raises Conflict for a MAC or an address that is taken.
    """
    values.setdefault("made_for_device", owner.startswith(GUEST))
    port = Port(
        id=clock_of(session).uuid(),
        name=name,
        project_id=project_id,
        network_id=network_id,
        mac=mac or macs.free(session),
        device_id=device_id,
        device_owner=owner,
        dns_name=dns_name,
        host_id=host_id,
        created_at=now(session),
        **values,
    )
    if groups is None and port.port_security_enabled and not owner.startswith("network:"):
        groups = [security_groups.default_group(session, project_id).id]
    session.add(port)
    try:
        session.flush()
        give(session, port, fixed.items() if isinstance(fixed, Mapping) else fixed)
    except IntegrityError as taken:
        raise Conflict(
            f"a port with MAC {port.mac}, or with one of its addresses, exists already", hint="Choose others."
        ) from taken
    join(session, port, groups or ())
    return port


def plug(
    session: Session,
    network: Network,
    *,
    project_id: str,
    device_id: str,
    owner: str,
    fixed_ip: str | None = None,
    groups: Sequence[str] | None = None,
    dns_name: str = "",
) -> Port:
    """A port made for an instance, and gone with it: with `fixed_ip`, else with the addresses any port gets.

    `groups` are ids, None for the default one; a network without port security has none. `bind` tells the hosts.
    Raises Invalid, Conflict.
    """
    mac = macs.free(session)
    asked = None if fixed_ip is None else [(None, fixed_ip)]
    return create(
        session,
        project_id=project_id,
        network_id=network.id,
        fixed=ips.choose(session, network.id, mac=mac, asked=asked),
        owner=owner,
        device_id=device_id,
        dns_name=dns_name,
        mac=mac,
        groups=groups if network.port_security_enabled else (),
        port_security_enabled=network.port_security_enabled,
    )


def give(session: Session, port: Port, fixed: Iterable[tuple[str, str]]) -> None:
    """Fixed IPs, (subnet id, address) each."""
    rows = [
        {"port_id": port.id, "ip": ip, "subnet_id": subnet_id, "network_id": port.network_id} for subnet_id, ip in fixed
    ]
    if rows:
        session.execute(insert(FixedIP), rows)


def join(session: Session, port: Port, groups: Sequence[str]) -> None:
    """Security groups, by id."""
    if groups:
        session.execute(
            insert(PortSecurityGroup), [{"port_id": port.id, "security_group_id": group} for group in groups]
        )


# ---------------------------------------------------------------------------- reads


def of_device(session: Session, device_id: str) -> list[Port]:
    """A device's ports in the order they were made."""
    query = select(Port).where(col(Port.device_id) == device_id).order_by(col(Port.created_at), col(Port.id))
    return list(session.execute(query).scalars())


def groups_of(session: Session, port_id: str) -> list[str]:
    """Ids of the security groups a port is in."""
    query = (
        select(PortSecurityGroup.security_group_id)
        .where(col(PortSecurityGroup.port_id) == port_id)
        .order_by(col(PortSecurityGroup.security_group_id))
    )
    return list(session.execute(query).scalars())


def fixed_ips(session: Session, port_id: str) -> ips.Chosen:
    """(subnet id, address) of a port, in the order of their addresses."""
    query = select(FixedIP.subnet_id, FixedIP.ip).where(col(FixedIP.port_id) == port_id).order_by(col(FixedIP.ip))
    return [(subnet_id, ip) for subnet_id, ip in session.execute(query).all()]


def addresses(session: Session, port_id: str) -> list[str]:
    return [ip for _, ip in fixed_ips(session, port_id)]


# ---------------------------------------------------------------------------- to a host and away


def touch(
    session: Session, ports: Sequence[Port], *, groups: Sequence[str] | None = None, pending: Iterable[str] = ()
) -> None:
    """Something about these ports is new, or is about to go: whoever carries their networks or groups is told.

    `groups` spares looking up which these are.
    """
    if groups is None:
        query = select(PortSecurityGroup.security_group_id).where(
            col(PortSecurityGroup.port_id).in_([port.id for port in ports])
        )
        groups = session.execute(query.distinct()).scalars().all()
    fabric.touch(
        session,
        networks={port.network_id for port in ports},
        groups=groups,
        hosts={port.host_id for port in ports if port.host_id},
        pending=pending,
    )


def bind(session: Session, device_id: str, host_id: str) -> None:
    """The device's ports are on this host now, DOWN until it is so; every host that has to know is told."""
    mine = of_device(session, device_id)
    if not mine:
        return
    left = [port for port in mine if port.host_id not in (None, host_id)]
    if left:
        touch(session, left)
    for port in mine:
        if port.host_id != host_id:
            port.host_id, port.status = host_id, "DOWN"
    session.flush()
    touch(session, mine, pending=[port.id for port in mine])


def take(session: Session, port: Port, *, device_id: str, owner: str, dns_name: str) -> None:
    """A user's own port is this device's now. Raises Conflict for one that is in use. `bind` tells the hosts."""
    if port.device_id or port.device_owner:
        raise Conflict(f"port {port.name or port.id} is in use", hint="skydeck port list shows by whom.")
    port.device_id, port.device_owner = device_id, owner
    port.dns_name = port.dns_name or dns_name
    session.flush()


def give_back(session: Session, port: Port) -> None:
    """The port is pulled out of its device: gone when it was made for it, else its owner's again, and DOWN."""
    touch(session, [port])
    if port.made_for_device:
        remove(session, port)
    else:
        port.host_id, port.status = None, "DOWN"
        port.device_id, port.device_owner = "", ""
        _forget(session, port)
    session.flush()


def release(session: Session, device_id: str) -> None:
    """The device is deleted. Ports made for it go with it, their addresses free again and their floating IPs kept; a
    user's own are unplugged."""
    for port in of_device(session, device_id):
        give_back(session, port)


def remove(session: Session, port: Port) -> None:
    """Take a port away, with its addresses. Its floating IPs stay their project's. Touching is the caller's."""
    disassociate(session, port.id)
    _forget(session, port)
    session.delete(port)
    session.flush()


def disassociate(session: Session, port_id: str) -> None:
    """Floating IPs of this port are of none now, and DOWN."""
    session.execute(
        update(FloatingIP)
        .where(col(FloatingIP.port_id) == port_id)
        .values(port_id=None, fixed_ip=None, router_id=None, status="DOWN")
    )


def _forget(session: Session, port: Port) -> None:
    """No host is waited for."""
    session.execute(sql_delete(NetworkingPending).where(col(NetworkingPending.object_id) == port.id))


def is_guest(port: Port) -> bool:
    return port.device_owner.startswith(GUEST)
