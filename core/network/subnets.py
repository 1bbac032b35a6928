"""Subnets: an address block of a network, who answers DHCP in it, and which addresses guests may get."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import delete as sql_delete
from sqlalchemy import func
from sqlmodel import Session, col

from core import names
from core.audit import change, record
from core.context import Context
from core.errors import Conflict, Invalid
from core.identity import quotas
from core.identity.policy import authorize
from core.network import addresses, fabric, finding, networks, ports
from core.network.addresses import Address, Block, derived, inside, of_network, pick
from core.network.tables import DHCP, ROUTER_INTERFACE, FixedIP, Network, Port, Subnet
from core.sql import select
from core.store import clock_of, now

__all__ = ("create", "delete", "find", "of_network", "pick", "service_ip", "set")

LARGEST: Final = {4: 16, 6: 64}
"""Prefix of the largest block taken in: a /16 has more addresses than one layer-2 segment should, and an IPv6 link has
64 bits."""
SMALLEST: Final = {4: 29, 6: 126}
MOST_DNS: Final = 5
MOST_ROUTES: Final = 20
"""neutron's max_dns_nameservers and max_subnet_host_routes."""
IPV6_MODES: Final = ("slaac", "dhcpv6-stateless")

_TRANSIT: Final = ipaddress.IPv4Network("100.64.0.0/10")
"""Between routers and the way out, on every host."""


def find(session: Session, ctx: Context, id_or_name: str) -> Subnet:
    """By id, or a name unique among the subnets of networks its project may use; its own win.

    Raises NotFound, Invalid.
    """
    authorize(ctx, "network:list")
    named, seen = (
        col(Subnet.network_id).in_(select(Network.id).where(networks_))
        for networks_ in (networks.reachable(ctx.project_id), networks.visible(ctx))
    )
    return finding.find(session, ctx, Subnet, id_or_name, noun="subnet", named=named, seen=seen)


def _owned(session: Session, ctx: Context, id_or_name: str) -> tuple[Subnet, Network]:
    """`find`, for who changes it: the network's project, or an admin."""
    subnet = find(session, ctx, id_or_name)
    return subnet, networks.owned(session, ctx, subnet.network_id)


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
    host_routes: tuple[tuple[str, str], ...] = (),
    ipv6_mode: str | None = None,
    description: str = "",
) -> Subnet:
    """A block of addresses for a network (by id or name). Its gateway is the first address unless said otherwise, its
    pools are all that is left. `host_routes` are (destination, next hop).

    Ports that are there already get their own address of an advertised prefix.
    Raises Invalid for what makes no sense, Conflict for a block that overlaps another, QuotaExceeded.
    """
    authorize(ctx, "network:create")
    owner = networks.owned(session, ctx, network)
    names.check(name, "subnet")
    block = _block(session, owner, cidr)
    _check_ipv6_mode(owner, block, ipv6_mode, dhcp=dhcp)
    gateway_ip = None if no_gateway else inside(gateway or str(block.network_address + 1), block, "gateway")
    ranges = _pools(block, pools, gateway_ip) if pools else _all_but(block, gateway_ip)
    subnet = Subnet(
        id=clock_of(session).uuid(),
        name=name,
        network_id=owner.id,
        project_id=project_id,
        cidr=str(block),
        ip_version=block.version,
        gateway_ip=None if gateway_ip is None else str(gateway_ip),
        enable_dhcp=dhcp,
        allocation_pools=ranges,
        dns_nameservers=_dns(block, dns),
        host_routes=_routes(block, host_routes),
        ipv6_mode=ipv6_mode,
        description=description,
        created_at=now(session),
    )
    quotas.check(session, dataclasses.replace(ctx, project_id=project_id), subnets=1)
    session.add(subnet)
    session.flush()
    if dhcp:
        _serve(session, subnet)
    if derived(subnet):
        _derive(session, subnet)
    fabric.touch(session, networks=[owner.id])
    after = {"cidr": subnet.cidr, "gateway_ip": subnet.gateway_ip, "network_id": owner.id}
    record(session, ctx, subnet, kind="subnet", action="create", after=after)
    return subnet


def set(
    session: Session,
    ctx: Context,
    id_or_name: str,
    *,
    name: str | None = None,
    description: str | None = None,
    gateway: str | None = None,
    no_gateway: bool = False,
    dhcp: bool | None = None,
    dns: tuple[str, ...] | None = None,
    pools: tuple[tuple[str, str], ...] | None = None,
    host_routes: tuple[tuple[str, str], ...] | None = None,
) -> Subnet:
    """Change what is not None. Addresses that are given out already stay, inside the new pools or not.

    Raises Conflict when a router has the gateway's address or another port the new one's, Invalid, NotFound.
    """
    authorize(ctx, "network:set")
    subnet, network = _owned(session, ctx, id_or_name)
    block = ipaddress.ip_network(subnet.cidr)
    values: dict[str, Any] = {"name": None if name is None else names.check(name, "subnet"), "description": description}
    gateway_ip: Address | None = ipaddress.ip_address(subnet.gateway_ip) if subnet.gateway_ip else None
    if no_gateway or gateway is not None:
        gateway_ip = None if no_gateway else inside(gateway or "", block, "gateway")
        _check_gateway(session, subnet, gateway_ip)
    if pools is not None or no_gateway or gateway is not None:
        wanted = pools if pools is not None else [(first, last) for first, last in subnet.allocation_pools]
        values["allocation_pools"] = _pools(block, wanted, gateway_ip)
    if dhcp is not None:
        _check_ipv6_mode(network, block, subnet.ipv6_mode, dhcp=dhcp)
    values |= {
        "enable_dhcp": dhcp,
        "dns_nameservers": None if dns is None else _dns(block, dns),
        "host_routes": None if host_routes is None else _routes(block, host_routes),
    }
    values = {field: value for field, value in values.items() if value is not None}
    values["gateway_ip"] = None if gateway_ip is None else str(gateway_ip)
    after = change(session, ctx, subnet, kind="subnet", values=values)
    if after.get("enable_dhcp") is True:
        _serve(session, subnet)
    if after:
        fabric.touch(session, networks=[subnet.network_id])
    if after.get("enable_dhcp") is False:
        _unserve(session, subnet)
    return subnet


def delete(session: Session, ctx: Context, id_or_name: str) -> None:
    """Raises Conflict while a port has an address of it. Addresses that guests derive do not hold an advertised
    prefix, as in neutron: they go with it."""
    authorize(ctx, "network:delete")
    subnet, _ = _owned(session, ctx, id_or_name)
    holding = [col(FixedIP.subnet_id) == subnet.id, col(Port.id) == col(FixedIP.port_id)]
    if derived(subnet):
        holding.append(col(Port.device_owner).startswith("network:"))
    held = session.execute(select(func.count()).where(*holding, col(Port.device_owner) != DHCP)).scalar_one()
    if held:
        raise Conflict(
            f"subnet {subnet.name} still has {held} addresses in use",
            hint="Delete the ports that have them first: skydeck port list.",
        )
    fabric.touch(session, networks=[subnet.network_id])
    _unserve(session, subnet)
    session.execute(sql_delete(FixedIP).where(col(FixedIP.subnet_id) == subnet.id))
    session.delete(subnet)
    session.flush()
    record(session, ctx, subnet, kind="subnet", action="delete")


def service_ip(session: Session, subnet_id: str) -> str | None:
    """The DHCP server's address; None when the subnet has none."""
    return session.execute(
        select(FixedIP.ip).where(
            col(FixedIP.subnet_id) == subnet_id,
            col(FixedIP.port_id) == col(Port.id),
            col(Port.device_owner) == DHCP,
        )
    ).scalar_one_or_none()


# ---------------------------------------------------------------------------- who is there


def _serve(session: Session, subnet: Subnet) -> None:
    """As in neutron, the network's DHCP server has a port of its own: its addresses are fixed IPs like any other."""
    query = select(Port).where(col(Port.network_id) == subnet.network_id, col(Port.device_owner) == DHCP)
    port = session.execute(query).scalars().first()
    ip = pick(session, subnet)
    if port is None:
        ports.create(
            session, project_id=subnet.project_id, network_id=subnet.network_id, fixed={subnet.id: ip}, owner=DHCP,
            device_id="dhcp",
        )  # fmt: skip
    else:
        session.add(FixedIP(port_id=port.id, ip=ip, subnet_id=subnet.id, network_id=subnet.network_id))
        session.flush()


def _unserve(session: Session, subnet: Subnet) -> None:
    servers = select(Port.id).where(col(Port.network_id) == subnet.network_id, col(Port.device_owner) == DHCP)
    session.execute(sql_delete(FixedIP).where(col(FixedIP.subnet_id) == subnet.id, col(FixedIP.port_id).in_(servers)))
    left = select(FixedIP.port_id).where(col(FixedIP.network_id) == subnet.network_id)
    for port in (
        session.execute(select(Port).where(col(Port.id).in_(servers), col(Port.id).not_in(left))).scalars().all()
    ):
        session.delete(port)
    session.flush()


def _derive(session: Session, subnet: Subnet) -> None:
    """Every guest hears the advertisement: its port has the address that it will give itself."""
    query = select(Port.id, Port.mac).where(
        col(Port.network_id) == subnet.network_id, ~col(Port.device_owner).startswith("network:")
    )
    for port_id, mac in session.execute(query).all():
        ip = addresses.eui64(subnet, mac)
        session.add(FixedIP(port_id=port_id, ip=ip, subnet_id=subnet.id, network_id=subnet.network_id))
    session.flush()


# ---------------------------------------------------------------------------- what makes sense


def _block(session: Session, network: Network, cidr: str) -> Block:
    block = addresses.block(cidr, "subnet")
    version = block.version
    if not LARGEST[version] <= block.prefixlen <= SMALLEST[version]:
        raise Invalid(
            f"a subnet cannot be a /{block.prefixlen}", hint=f"Between /{LARGEST[version]} and /{SMALLEST[version]}."
        )
    if block.is_multicast or block.is_loopback or block.is_link_local or block.is_unspecified:
        raise Invalid(f"{cidr} cannot be used for guests", hint="For example 10.0.0.0/24.")
    if isinstance(block, ipaddress.IPv4Network) and block.overlaps(_TRANSIT):
        raise Invalid(f"{cidr} cannot be used: hosts route over {_TRANSIT} themselves", hint="For example 10.0.0.0/24.")
    for other in of_network(session, network.id):
        if other.ip_version == version and block.overlaps(ipaddress.ip_network(other.cidr)):
            raise Conflict(f"{cidr} overlaps subnet {other.name} ({other.cidr}) of the same network")
    return block


def _check_ipv6_mode(network: Network, block: Block, mode: str | None, *, dhcp: bool) -> None:
    if block.version == 6 and network.mtu < 1280:
        raise Invalid(f"network {network.name} has an MTU of {network.mtu}", hint="IPv6 needs 1280.")
    if mode is None:
        return
    if mode not in IPV6_MODES:
        raise Invalid(f"{mode!r} is not an IPv6 mode", hint=f"{' or '.join(IPV6_MODES)}, or none.")
    if block.version != 6:
        raise Invalid("only an IPv6 subnet has an IPv6 mode")
    if block.prefixlen != 64:
        raise Invalid(f"{block} cannot be advertised", hint="Guests derive their addresses from a /64.")
    if not dhcp:
        raise Invalid(f"a subnet in mode {mode} cannot be without DHCP", hint="Leave the mode out.")


def _check_gateway(session: Session, subnet: Subnet, wanted: Address | None) -> None:
    ip = None if wanted is None else str(wanted)
    if ip == subnet.gateway_ip:
        return
    if subnet.gateway_ip and (port := addresses.holder(session, subnet.network_id, subnet.gateway_ip)):
        raise Conflict(
            f"gateway {subnet.gateway_ip} is in use by port {port}", hint="Take the subnet off its router first."
        )
    if ip and (holder := addresses.holder(session, subnet.network_id, ip)):
        taker = session.get(Port, holder)
        if taker is None or taker.device_owner != ROUTER_INTERFACE:
            raise Conflict(f"address {ip} is taken by port {holder}", hint="Choose another gateway.")


def _all_but(block: Block, gateway: Address | None) -> list[list[str]]:
    """Every usable address, as pools around the gateway."""
    first = block.network_address + 1
    last = block.broadcast_address - (1 if block.version == 4 else 0)
    if gateway is None:
        return [[str(first), str(last)]]
    around = [(int(first), int(gateway) - 1), (int(gateway) + 1, int(last))]
    make = type(first)
    return [[str(make(low)), str(make(high))] for low, high in around if low <= high]


def _pools(block: Block, pools: Iterable[tuple[str, str]], gateway: Address | None) -> list[list[str]]:
    """Raises Invalid for a pool that is backwards, outside, over another one or over the gateway."""
    ranges = [(inside(first, block, "pool"), inside(last, block, "pool")) for first, last in pools]
    ranges.sort(key=lambda ends: int(ends[0]))
    for index, (first, last) in enumerate(ranges):
        if int(first) > int(last):
            raise Invalid(f"the pool {first}-{last} is backwards")
        if index and int(first) <= int(ranges[index - 1][1]):
            raise Invalid(f"the pool {first}-{last} overlaps the pool {ranges[index - 1][0]}-{ranges[index - 1][1]}")
        if gateway is not None and int(first) <= int(gateway) <= int(last):
            raise Invalid(f"gateway {gateway} is inside the pool {first}-{last}", hint="Give pools around it.")
    if not ranges:
        raise Invalid("a subnet needs a pool of addresses")
    return [[str(first), str(last)] for first, last in ranges]


def _same_family(found: Address | Block, block: Block, what: str) -> str:
    if found.version != block.version:
        raise Invalid(f"{what} {found} is not an IPv{block.version} address")
    return str(found)


def _dns(block: Block, servers: tuple[str, ...]) -> list[str]:
    if len(servers) > MOST_DNS:
        raise Invalid(f"{len(servers)} DNS servers are too many", hint=f"At most {MOST_DNS}.")
    return [_same_family(addresses.address(server, "DNS server"), block, "DNS server") for server in servers]


def _routes(block: Block, routes: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    if len(routes) > MOST_ROUTES:
        raise Invalid(f"{len(routes)} host routes are too many", hint=f"At most {MOST_ROUTES}.")
    return [
        {
            "destination": _same_family(addresses.block(destination, "destination"), block, "destination"),
            "nexthop": _same_family(addresses.address(nexthop, "next hop"), block, "next hop"),
        }
        for destination, nexthop in routes
    ]
