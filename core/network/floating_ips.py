"""Floating IPs: addresses of an external network that belong to a project and can be put on any port of its.

The address is a fixed IP of a hidden port (network:floatingip), so that nobody else gets it. The hosts of the port it
is on, and was on, are told; ACTIVE is it when both have confirmed, so that no two answer to it.
"""

from __future__ import annotations

import ipaddress

from sqlalchemy import delete as sql_delete
from sqlalchemy import func
from sqlmodel import Session, col

from core.audit import change, record
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.identity import quotas
from core.identity.policy import authorize
from core.network import addresses, fabric, ports, usage  # noqa: F401 - usage tells the quotas how they are counted
from core.network.fabric import NetworkingPending
from core.network.routers import gateway
from core.network.tables import (
    FLOATING_IP,
    ROUTER_INTERFACE,
    FixedIP,
    FloatingIP,
    Network,
    Port,
    Router,
    Subnet,
)
from core.sql import select
from core.store import clock_of, now


def find(session: Session, ctx: Context, id_or_address: str) -> FloatingIP:
    """By id or address. Raises NotFound, Invalid."""
    authorize(ctx, "floating_ip:list")
    query = select(FloatingIP).where((col(FloatingIP.id) == id_or_address) | (col(FloatingIP.address) == id_or_address))
    if not ctx.is_admin:
        query = query.where(col(FloatingIP.project_id) == ctx.project_id)
    rows = session.execute(query).scalars().all()
    if not rows:
        raise NotFound(f"no floating IP {id_or_address!r}", hint="skydeck floating ip list shows them.")
    if len(rows) > 1:
        raise Invalid(f"{len(rows)} external networks have a floating IP {id_or_address}", hint="Use the id.")
    return rows[0]


def create(
    session: Session,
    ctx: Context,
    *,
    network: str,
    address: str | None = None,
    port: str | None = None,
    fixed_ip: str | None = None,
    description: str = "",
) -> FloatingIP:
    """An address of an external IPv4 network (id or name): the next free one, or `address`; on a port if one is named.

    Raises Invalid, NotFound, QuotaExceeded; Conflict for an address that is taken, a pool that is exhausted, and as
    `associate`.
    """
    authorize(ctx, "floating_ip:create")
    outside = gateway.external(session, ctx, network)
    subnet, ip = _address(session, outside, address)
    quotas.check(session, ctx, floating_ips=1)
    row = FloatingIP(
        id=clock_of(session).uuid(),
        project_id=ctx.project_id,
        network_id=outside.id,
        address=ip,
        description=description,
        created_at=now(session),
    )
    ports.create(
        session,
        project_id="",
        network_id=outside.id,
        fixed={subnet.id: ip},
        owner=FLOATING_IP,
        device_id=row.id,
        groups=(),
        port_security_enabled=False,
    )
    session.add(row)
    session.flush()
    after = {"address": ip, "network_id": outside.id}
    record(session, ctx, row, kind="floating_ip", action="create", after=after)
    if port is not None:
        associate(session, ctx, row.id, port, fixed_ip=fixed_ip)
    elif fixed_ip is not None:
        raise Invalid("a fixed IP needs the port that has it", hint="Name it with --port.")
    return row


def set(session: Session, ctx: Context, id_or_address: str, *, description: str | None = None) -> FloatingIP:
    """Change what is not None. Raises NotFound."""
    authorize(ctx, "floating_ip:set")
    row = find(session, ctx, id_or_address)
    if description is not None:
        change(session, ctx, row, kind="floating_ip", values={"description": description})
    return row


def associate(
    session: Session, ctx: Context, id_or_address: str, port: str, *, fixed_ip: str | None = None
) -> FloatingIP:
    """Put it on a port (id or name), from whatever port it was on. A port with several IPv4 addresses must name one.

    Raises Conflict when no router joins the port's subnet to the floating IP's network, or the address has a floating
    IP there already; Invalid, NotFound.
    """
    authorize(ctx, "floating_ip:set")
    row = find(session, ctx, id_or_address)
    target = ports.find(session, ctx, port)
    if target.project_id != row.project_id:
        raise NotFound(f"no port {port!r} in the project of floating IP {row.address}")
    fixed, subnet = _fixed(session, target, fixed_ip)
    router = _router(session, row, subnet)
    if (row.port_id, row.fixed_ip, row.router_id) == (target.id, fixed, router.id):
        return row
    other = select(FloatingIP.address).where(
        col(FloatingIP.network_id) == row.network_id,
        col(FloatingIP.port_id) == target.id,
        col(FloatingIP.fixed_ip) == fixed,
        col(FloatingIP.id) != row.id,
    )
    if (taken := session.execute(other).scalars().first()) is not None:
        raise Conflict(
            f"{fixed} of port {target.name or target.id} has floating IP {taken} already",
            hint=f"skydeck floating ip unset --port {taken} comes first.",
        )
    _put(session, ctx, row, "associate", port_id=target.id, fixed_ip=fixed, router_id=router.id)
    return row


def disassociate(session: Session, ctx: Context, id_or_address: str) -> FloatingIP:
    """Take it off its port; it stays the project's. Raises Conflict when it is on none, NotFound."""
    authorize(ctx, "floating_ip:set")
    row = find(session, ctx, id_or_address)
    if row.port_id is None:
        raise Conflict(f"floating IP {row.address} is on no port")
    _put(session, ctx, row, "disassociate", port_id=None, fixed_ip=None, router_id=None)
    return row


def delete(session: Session, ctx: Context, id_or_address: str) -> None:
    """Give the address back. Raises NotFound."""
    authorize(ctx, "floating_ip:delete")
    row = find(session, ctx, id_or_address)
    fabric.touch(session, hosts=_hosts(session, row.port_id))
    session.execute(sql_delete(NetworkingPending).where(col(NetworkingPending.object_id) == row.id))
    hidden = select(Port).where(col(Port.device_id) == row.id, col(Port.device_owner) == FLOATING_IP)
    for port in session.execute(hidden).scalars().all():
        ports.remove(session, port)
    session.delete(row)
    session.flush()
    record(session, ctx, row, kind="floating_ip", action="delete", before={"address": row.address})


def _put(
    session: Session,
    ctx: Context,
    row: FloatingIP,
    action: str,
    *,
    port_id: str | None,
    fixed_ip: str | None,
    router_id: str | None,
) -> None:
    """Both the host that has it and the one that gets it are told, in this transaction."""
    before = {"port_id": row.port_id, "fixed_ip": row.fixed_ip}
    hosts = _hosts(session, row.port_id, port_id)
    row.port_id, row.fixed_ip, row.router_id, row.status = port_id, fixed_ip, router_id, "DOWN"
    session.flush()
    fabric.touch(session, hosts=hosts, pending=[row.id])
    session.refresh(row)
    after = {"port_id": port_id, "fixed_ip": fixed_ip}
    record(session, ctx, row, kind="floating_ip", action=action, before=before, after=after)


def _hosts(session: Session, *port_ids: str | None) -> list[str]:
    query = select(Port.host_id).where(
        col(Port.id).in_([port_id for port_id in port_ids if port_id]), col(Port.host_id).is_not(None)
    )
    return list(session.execute(query).scalars())


def _address(session: Session, outside: Network, wanted: str | None) -> tuple[Subnet, str]:
    """A subnet of the external network and a free address of it. Raises Invalid, Conflict."""
    blocks = [subnet for subnet in addresses.of_network(session, outside.id) if subnet.ip_version == 4]
    if not blocks:
        raise Invalid(f"external network {outside.name} has no IPv4 subnet", hint="Floating IPs are IPv4 addresses.")
    if wanted is not None:
        ip = addresses.address(wanted, "floating IP")
        for subnet in blocks:
            if ip in ipaddress.ip_network(subnet.cidr):
                return subnet, addresses.pick(session, subnet, wanted)
        raise Invalid(
            f"{wanted} is no address of network {outside.name}",
            hint=f"Its subnets: {', '.join(subnet.cidr for subnet in blocks)}.",
        )
    for subnet in blocks:
        if (found := addresses.lowest_free(session, subnet)) is not None:
            return subnet, found
    raise Conflict(
        f"external network {outside.name} has no free address",
        hint="Delete a floating IP that is not used, or widen the pools of its subnet.",
    )


def _fixed(session: Session, port: Port, wanted: str | None) -> tuple[str, Subnet]:
    """The port's IPv4 address that is meant, with its subnet. Raises Invalid."""
    rows = session.execute(
        select(FixedIP.ip, Subnet)
        .where(col(FixedIP.port_id) == port.id, col(Subnet.id) == col(FixedIP.subnet_id), col(Subnet.ip_version) == 4)
        .order_by(col(FixedIP.number))
    ).all()
    own: dict[str, Subnet] = dict(rows)
    what = f"port {port.name or port.id}"
    if port.device_owner.startswith("network:"):
        raise Invalid(f"{what} is not a server's", hint="A floating IP goes on a server's port.")
    if wanted is not None:
        ip = str(addresses.address(wanted, "fixed IP"))
        if ip not in own:
            raise Invalid(f"{what} has no IPv4 address {ip}", hint=f"It has {', '.join(own) or 'none'}.")
        return ip, own[ip]
    if not own:
        raise Invalid(f"{what} has no IPv4 address")
    if len(own) > 1:
        raise Invalid(f"{what} has several IPv4 addresses", hint=f"Name one: --fixed-ip-address {' or '.join(own)}.")
    return next(iter(own.items()))


def _router(session: Session, row: FloatingIP, subnet: Subnet) -> Router:
    """The router that joins the subnet to the floating IP's network; of several, the one that is its gateway."""
    found = session.execute(
        select(Router, FixedIP.ip)
        .where(
            col(Router.external_network_id) == row.network_id,
            col(Port.device_id) == col(Router.id),
            col(Port.device_owner) == ROUTER_INTERFACE,
            col(FixedIP.port_id) == col(Port.id),
            col(FixedIP.subnet_id) == subnet.id,
        )
        .order_by((func.coalesce(subnet.gateway_ip, "") != col(FixedIP.ip)), col(Router.id))
    ).first()
    if found is None:
        network = session.get_one(Network, row.network_id)
        raise Conflict(
            f"no router joins subnet {subnet.name} to external network {network.name}",
            hint=f"skydeck router set --external-gateway {network.name} ROUTER; "
            f"skydeck router add subnet ROUTER {subnet.name}",
        )
    router: Router = found[0]
    return router
