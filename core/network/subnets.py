"""Subnets: an address block of a network, who answers DHCP in it, and which addresses guests may get."""

from __future__ import annotations

import ipaddress
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col

from core import events, names
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.identity import quotas
from core.identity.policy import authorize
from core.network import ports
from core.network.tables import DHCP, FixedIP, Port, Subnet
from core.sql import select
from core.store import clock_of, now

LARGEST = 16
"""Longest block taken in: a /16 has more addresses than one layer-2 segment should."""


@quotas.counts("subnets")
def _count(project_id: str) -> Any:
    return select(func.count()).where(col(Subnet.project_id) == project_id)


def of_network(session: Session, network_id: str) -> list[Subnet]:
    query = select(Subnet).where(col(Subnet.network_id) == network_id).order_by(col(Subnet.created_at))
    return list(session.execute(query).scalars())


def find(session: Session, ctx: Context, id_or_name: str) -> Subnet:
    """Raises NotFound."""
    authorize(ctx, "network:list")
    query = select(Subnet).where((col(Subnet.id) == id_or_name) | (col(Subnet.name) == id_or_name))
    if not ctx.is_admin:
        query = query.where(col(Subnet.project_id) == ctx.project_id)
    row = session.execute(query).scalars().first()
    if row is None:
        raise NotFound(f"no subnet {id_or_name!r}", hint="skydeck subnet list shows them.")
    return row


def create(
    session: Session,
    ctx: Context,
    *,
    name: str,
    network: str,
    project_id: str,
    cidr: str,
    gateway: str | None = None,
    no_gateway: bool = False,
    dhcp: bool = True,
    dns: tuple[str, ...] = (),
    pools: tuple[tuple[str, str], ...] = (),
) -> Subnet:
    """A block of addresses for a network (given by id, checked by the caller). IPv4; one per network so far.

    Raises Invalid for a block, gateway or pool that makes no sense, Conflict when the network has a subnet.
    """
    authorize(ctx, "network:create")
    names.check(name, "subnet")
    block = _block(cidr)
    if of_network(session, network):
        raise Conflict("this network has a subnet already", hint="One subnet per network, for now.")
    quotas.check(session, ctx, subnets=1)
    first, last = block.network_address + 1, block.broadcast_address - 1
    gateway_ip = None if no_gateway else _inside(gateway or str(first), block, "gateway")
    ranges = [[_inside(a, block, "pool"), _inside(b, block, "pool")] for a, b in pools]
    for start, end in ranges:
        if ipaddress.IPv4Address(start) > ipaddress.IPv4Address(end):
            raise Invalid(f"the pool {start}-{end} is backwards")
    subnet = Subnet(
        id=clock_of(session).uuid(),
        name=name,
        network_id=network,
        project_id=project_id,
        cidr=str(block),
        gateway_ip=gateway_ip,
        enable_dhcp=dhcp,
        allocation_pools=ranges or [[str(first), str(last)]],
        dns_nameservers=[str(_address(server, "DNS server")) for server in dns],
        created_at=now(session),
    )
    session.add(subnet)
    session.flush()
    if dhcp:
        # As in neutron, the DHCP server has a port of its own: its address is a fixed IP like any other.
        ports.create(
            session,
            project_id=project_id,
            network_id=network,
            fixed={subnet.id: pick(session, subnet)},
            owner=DHCP,
            device_id="dhcp",
        )
    events.record(
        session,
        ctx,
        "subnet.create",
        kind="subnet",
        id=subnet.id,
        name=name,
        project_id=project_id,
        after={"cidr": subnet.cidr, "gateway_ip": gateway_ip},
    )
    return subnet


def delete(session: Session, ctx: Context, id_or_name: str) -> None:
    """Raises Conflict while a guest has an address of it."""
    authorize(ctx, "network:delete")
    subnet = find(session, ctx, id_or_name)
    held = session.execute(
        select(func.count()).where(
            col(FixedIP.subnet_id) == subnet.id,
            col(FixedIP.port_id) == col(Port.id),
            col(Port.device_owner) != DHCP,
        )
    ).scalar_one()
    if held:
        raise Conflict(f"subnet {subnet.name} still has {held} addresses in use", hint="Delete the instances first.")
    served = select(Port).where(
        col(Port.id) == col(FixedIP.port_id), col(FixedIP.subnet_id) == subnet.id, col(Port.device_owner) == DHCP
    )
    for port in session.execute(served).scalars().all():
        session.delete(port)
    session.flush()
    session.delete(subnet)
    events.record(
        session, ctx, "subnet.delete", kind="subnet", id=subnet.id, name=subnet.name, project_id=subnet.project_id
    )


def service_ip(session: Session, subnet_id: str) -> str | None:
    """The DHCP server's address; None when the subnet has none."""
    return session.execute(
        select(FixedIP.ip).where(
            col(FixedIP.subnet_id) == subnet_id,
            col(FixedIP.port_id) == col(Port.id),
            col(Port.device_owner) == DHCP,
        )
    ).scalar_one_or_none()


def pick(session: Session, subnet: Subnet, wanted: str | None = None) -> str:
    """The lowest free address of the pools, or `wanted` when it may be had.

    Raises Conflict when the pools are exhausted or the address is taken, Invalid when it is outside the subnet.
    """
    taken = set(session.execute(select(FixedIP.ip).where(col(FixedIP.network_id) == subnet.network_id)).scalars())
    if subnet.gateway_ip:
        taken.add(subnet.gateway_ip)
    if wanted is not None:
        address = _inside(wanted, _block(subnet.cidr), "address")
        if address in taken:
            raise Conflict(f"address {address} is taken", hint="Leave it out, and the next free one is used.")
        return address
    for start, end in subnet.allocation_pools:
        for number in range(int(ipaddress.IPv4Address(start)), int(ipaddress.IPv4Address(end)) + 1):
            if (address := str(ipaddress.IPv4Address(number))) not in taken:
                return address
    raise Conflict(
        f"subnet {subnet.name} ({subnet.cidr}) has no free address", hint="Delete something on it, or use another."
    )


def _block(cidr: str) -> ipaddress.IPv4Network:
    try:
        block = ipaddress.ip_network(cidr)
    except ValueError as bad:
        raise Invalid(f"{cidr!r} is not a subnet: {bad}", hint="For example 10.0.0.0/24.") from bad
    if not isinstance(block, ipaddress.IPv4Network):
        raise Invalid("only IPv4 subnets so far", hint="For example 10.0.0.0/24.")
    if not LARGEST <= block.prefixlen <= 29:
        raise Invalid(f"a subnet cannot be a /{block.prefixlen}", hint=f"Between /{LARGEST} and /29.")
    if block.is_multicast or block.is_loopback or block.is_link_local or block.is_unspecified:
        raise Invalid(f"{cidr} cannot be used for guests", hint="For example 10.0.0.0/24.")
    return block


def _address(text: str, what: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError as bad:
        raise Invalid(f"{what} {text!r} is not an IPv4 address") from bad


def _inside(text: str, block: ipaddress.IPv4Network, what: str) -> str:
    address = _address(text, what)
    if address not in block or address in (block.network_address, block.broadcast_address):
        raise Invalid(f"{what} {text} is not a usable address of {block}")
    return str(address)
