"""Joining networks to a router, and parting them from it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from sqlmodel import Session, col

from core.audit import record
from core.context import Context
from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.identity import quotas
from core.identity.policy import authorize
from core.network import addresses, fabric, ports, subnets
from core.network.routers.access import (
    Attached,
    check_no_floating_ips,
    check_no_overlap,
    find,
    gateway_addresses,
    interfaces,
    networks_of,
)
from core.network.tables import ROUTER_INTERFACE, FixedIP, Network, Port, Router, Subnet
from core.sql import select
from hostd.spec import SegmentType


def add_subnet(session: Session, ctx: Context, id_or_name: str, subnet: str) -> Port:
    """Join a subnet (id or name): the router has its gateway's address from now on. Answers the interface's port.

    Raises Invalid for a subnet without a gateway, Conflict for one that overlaps another of the router's, whose gateway
    address is taken or whose network cannot be routed; Forbidden for another project's; NotFound, QuotaExceeded.
    """
    authorize(ctx, "router:set")
    router = find(session, ctx, id_or_name)
    block = subnets.find(session, ctx, subnet)
    network = session.get_one(Network, block.network_id)
    if not ctx.is_admin and network.project_id != ctx.project_id:
        raise Forbidden(
            f"the gateway of network {network.name} is its owner's to give",
            hint="Make a port on it and add that: skydeck router add port.",
        )
    _check_routable(network)
    _check_new(session, router, [block])
    if block.gateway_ip is None:
        raise Invalid(
            f"subnet {block.name} has no gateway address",
            hint="Make a port on it and add that: skydeck router add port.",
        )
    if (holder := addresses.holder(session, network.id, block.gateway_ip)) is not None:
        raise Conflict(
            f"the gateway address {block.gateway_ip} of subnet {block.name} is taken by port {holder}",
            hint="Another router may have it. A port with another address can be added: skydeck router add port.",
        )
    quotas.check(session, ctx, ports=1)
    port = ports.create(
        session,
        project_id=router.project_id,
        network_id=network.id,
        fixed={block.id: block.gateway_ip},
        owner=ROUTER_INTERFACE,
        device_id=router.id,
        groups=(),
        port_security_enabled=False,
    )
    return _added(session, ctx, router, port, [block])


def add_port(session: Session, ctx: Context, id_or_name: str, port: str) -> Port:
    """Join a network by a port of the caller's (id or name): its addresses are the router's from now on.

    Raises Conflict for a port that is in use, or as `add_subnet`; Invalid for one without an address or with several
    IPv4 ones; NotFound.
    """
    authorize(ctx, "router:set")
    router = find(session, ctx, id_or_name)
    plugged = ports.find(session, ctx, port)
    if plugged.device_id or plugged.device_owner:
        raise Conflict(f"port {plugged.id} is in use by {plugged.device_owner} {plugged.device_id}".rstrip())
    network = session.get_one(Network, plugged.network_id)
    _check_routable(network)
    blocks = list(
        session.execute(
            select(Subnet).where(col(Subnet.id) == col(FixedIP.subnet_id), col(FixedIP.port_id) == plugged.id)
        ).scalars()
    )
    if not blocks:
        raise Invalid(f"port {plugged.id} has no address", hint="A router needs one on each network.")
    if sum(block.ip_version == 4 for block in blocks) > 1:
        raise Invalid(f"port {plugged.id} has several IPv4 addresses", hint="A router's interface has one.")
    _check_new(session, router, blocks)
    plugged.device_id, plugged.device_owner, plugged.dns_name = router.id, ROUTER_INTERFACE, ""
    session.flush()
    return _added(session, ctx, router, plugged, blocks)


def remove_subnet(session: Session, ctx: Context, id_or_name: str, subnet: str) -> None:
    """Part a subnet from the router; the interface's port goes, as in neutron.

    Raises Conflict while floating IPs or static routes need it, NotFound.
    """
    authorize(ctx, "router:set")
    router = find(session, ctx, id_or_name)
    attached = interfaces(session, router.id)
    for on in attached:
        if subnet in (on.subnet.id, on.subnet.name):
            _remove(session, ctx, router, on.port, attached)
            return
    raise NotFound(f"router {router.name} has no subnet {subnet!r}", hint=f"skydeck router show {router.name}")


def remove_port(session: Session, ctx: Context, id_or_name: str, port: str) -> None:
    """Part what this port (id or name) joins from the router; the port goes. Raises as `remove_subnet`."""
    authorize(ctx, "router:set")
    router = find(session, ctx, id_or_name)
    attached = interfaces(session, router.id)
    for on in attached:
        if port in (on.port.id, on.port.name):
            _remove(session, ctx, router, on.port, attached)
            return
    raise NotFound(f"router {router.name} has no port {port!r}", hint=f"skydeck router show {router.name}")


def _check_routable(network: Network) -> None:
    if network.external:
        raise Conflict(
            f"network {network.name} is external",
            hint="It can be a router's gateway: skydeck router set --external-gateway.",
        )
    if network.network_type != SegmentType.VXLAN:
        raise Conflict(
            f"network {network.name} is a {network.network_type} network: the router would show one address on every "
            "host's card",
            hint="Routers join vxlan networks; what is outside is reached by a gateway.",
        )


def _check_new(session: Session, router: Router, blocks: Iterable[Subnet]) -> None:
    there = interfaces(session, router.id) + gateway_addresses(session, router.id)
    check_no_overlap(router, there, blocks)


def _added(session: Session, ctx: Context, router: Router, port: Port, blocks: list[Subnet]) -> Port:
    port.status = "DOWN"
    session.flush()
    fabric.touch(session, networks=networks_of(session, router.id), pending=[port.id, router.id])
    after = {"port_id": port.id, "subnets": [block.cidr for block in blocks]}
    record(session, ctx, router, kind="router", action="add_interface", after=after)
    session.refresh(port)
    return port


def _remove(session: Session, ctx: Context, router: Router, port: Port, attached: list[Attached]) -> None:
    going = [on for on in attached if on.port.id == port.id]
    names = ", ".join(on.subnet.name for on in going)
    check_no_floating_ips(
        session, router, f"subnet {names} cannot leave router {router.name}", subnets=[on.subnet.id for on in going]
    )
    for route in router.routes:
        if any(ipaddress.ip_address(route["nexthop"]) in on.block for on in going):
            raise Conflict(
                f"router {router.name} has a route to {route['destination']} by {route['nexthop']}, on {names}",
                hint=f"skydeck router unset --route comes first, or router set --no-route {router.name}.",
            )
    fabric.touch(session, networks=networks_of(session, router.id), pending=[router.id])
    ports.remove(session, port)
    before = {"port_id": port.id, "subnets": [on.subnet.cidr for on in going]}
    record(session, ctx, router, kind="router", action="remove_interface", before=before)
