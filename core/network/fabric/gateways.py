"""Each host's own address on the external networks its guests go out by: what they are seen as (per-host SNAT).

It is a port (HOST_GATEWAY, device_id the host) that comes in the transaction which makes the host need it, so that an
exhausted pool refuses the verb; and it goes when the host has confirmed a document without it, and not before: until
then the host answers to the address.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete
from sqlmodel import Session, col

from core.errors import Conflict
from core.hosts.table import Host
from core.network import addresses, macs
from core.network.fabric import reach
from core.network.tables import HOST_GATEWAY, FixedIP, Network, Port
from core.sql import select
from core.store import clock_of, now


def provide(session: Session, networks: Iterable[str]) -> None:
    """Give every host that carries these networks its address on each external network they go out by.

    Raises Conflict when an external network has no address left.
    """
    left = set(networks)
    while left:
        component = reach.joined(session, {min(left)})
        left -= component
        external = reach.ways_out(session, component)
        if not external:
            continue
        hosts = reach.with_ports(session, component)
        for network_id in sorted(external):
            for host_id in sorted(hosts - _provided(session, network_id)):
                _add(session, network_id, host_id)


def release(session: Session, host_id: str) -> None:
    """Free the addresses that this host, which has confirmed its newest document, needs no more."""
    held = select(Port.network_id).where(col(Port.device_id) == host_id, col(Port.device_owner) == HOST_GATEWAY)
    has = set(session.execute(held).scalars())
    if has:
        drop(session, host_id, has - needed(session, host_id))


def drop(session: Session, host_id: str, networks: Iterable[str] | None = None) -> None:
    """Free a host's addresses on these networks; None: all it has."""
    which = [col(Port.device_id) == host_id, col(Port.device_owner) == HOST_GATEWAY]
    if networks is not None:
        which.append(col(Port.network_id).in_(set(networks)))
    ids = list(session.execute(select(Port.id).where(*which)).scalars())
    for table, column in ((FixedIP, FixedIP.port_id), (Port, Port.id)):
        session.execute(delete(table).where(col(column).in_(ids)))


def needed(session: Session, host_id: str) -> set[str]:
    """The external networks that a host needs an address on."""
    return reach.ways_out(session, reach.joined(session, reach.on_host(session, host_id)))


def _provided(session: Session, network_id: str) -> set[str]:
    query = select(Port.device_id).where(col(Port.network_id) == network_id, col(Port.device_owner) == HOST_GATEWAY)
    return set(session.execute(query).scalars())


def _add(session: Session, network_id: str, host_id: str) -> None:
    blocks = [block for block in addresses.of_network(session, network_id) if block.ip_version == 4]
    if not blocks:
        return  # nothing is translated to IPv6
    for block in blocks:
        ip = addresses.lowest_free(session, block)
        if ip is not None:
            break
    else:
        network, host = session.get(Network, network_id), session.get(Host, host_id)
        raise Conflict(
            f"external network {network.name if network else network_id} has no free address for host "
            f"{host.name if host else host_id}, which its guests would be seen as",
            hint="Release a floating IP, or widen the pools of its subnet.",
        )
    port = Port(
        id=clock_of(session).uuid(),
        project_id="",
        network_id=network_id,
        mac=macs.free(session),
        status="ACTIVE",
        device_id=host_id,
        device_owner=HOST_GATEWAY,
        host_id=host_id,
        created_at=now(session),
    )
    session.add(port)
    session.flush()
    session.add(FixedIP(port_id=port.id, ip=ip, subnet_id=block.id, network_id=network_id))
    session.flush()
