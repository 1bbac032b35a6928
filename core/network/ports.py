"""Ports: where a guest, or a service, is plugged into a network; and the fixed IPs each holds.

UNIQUE(network, ip) and UNIQUE(mac) are the database's, so two creates at once cannot hand out one address twice.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col

from core.errors import Conflict
from core.identity import quotas
from core.network import fabric
from core.network.tables import FixedIP, Port, PortSecurityGroup
from core.sql import select
from core.store import clock_of, now

BASE_MAC = "fa:16:3e"
"""neutron's base_mac."""


@quotas.counts("ports")
def _count(project_id: str) -> Any:
    return select(func.count()).where(col(Port.project_id) == project_id)


def create(
    session: Session,
    *,
    project_id: str,
    network_id: str,
    fixed: dict[str, str],
    owner: str,
    device_id: str,
    name: str = "",
    dns_name: str = "",
    host_id: str | None = None,
) -> Port:
    """Plug something in: a MAC, and the addresses in `fixed` (subnet id to IP, chosen by `subnets.pick`).

    The port quota is checked by the verb that asks.
    """
    clock = clock_of(session)
    port = Port(
        id=clock.uuid(),
        name=name,
        project_id=project_id,
        network_id=network_id,
        mac=_free_mac(session),
        device_id=device_id,
        device_owner=owner,
        dns_name=dns_name,
        host_id=host_id,
        created_at=now(session),
    )
    session.add(port)
    session.flush()
    for subnet_id, ip in fixed.items():
        session.add(FixedIP(port_id=port.id, ip=ip, subnet_id=subnet_id, network_id=network_id))
    session.flush()
    return port


def _free_mac(session: Session) -> str:
    dice = clock_of(session).random
    for _ in range(64):
        mac = ":".join([BASE_MAC, *(f"{dice.randrange(256):02x}" for _ in range(3))])
        if session.execute(select(Port.id).where(col(Port.mac) == mac)).first() is None:
            return mac
    raise Conflict("no free MAC address was found", hint="Try again.")


def of_device(session: Session, device_id: str) -> list[Port]:
    """A device's ports in the order they were made."""
    query = select(Port).where(col(Port.device_id) == device_id).order_by(col(Port.created_at), col(Port.id))
    return list(session.execute(query).scalars())


def bind(session: Session, device_id: str, host_id: str) -> None:
    """The device's ports are on this host now; every host that has to know is told."""
    mine = of_device(session, device_id)
    for port in mine:
        port.host_id = host_id
    session.flush()
    for port in mine:
        fabric.touch(session, networks=[port.network_id], groups=groups_of(session, port.id), pending=[port.id])


def groups_of(session: Session, port_id: str) -> list[str]:
    """Ids of the security groups a port is in."""
    query = select(PortSecurityGroup.security_group_id).where(col(PortSecurityGroup.port_id) == port_id)
    return list(session.execute(query).scalars())


def addresses(session: Session, port_id: str) -> list[str]:
    return list(session.execute(select(FixedIP.ip).where(col(FixedIP.port_id) == port_id)).scalars())


def delete_of_device(session: Session, device_id: str) -> None:
    """Unplug a deleted device: its ports and their addresses are free again."""
    for port in of_device(session, device_id):
        session.delete(port)
    session.flush()
