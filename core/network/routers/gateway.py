"""A router's way out.

Its gateway port holds an address of the external network, as in neutron. It is not what its guests are seen as: that
is the address of each guest's host there (network:floatingip_agent_gateway), since every host translates for itself.
"""

from __future__ import annotations

from sqlmodel import Session, col

from core.audit import record
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.identity.policy import authorize
from core.network import addresses, fabric, macs, networks, ports
from core.network.networks.access import EXTERNAL
from core.network.routers.access import (
    check_no_floating_ips,
    check_no_overlap,
    find,
    gateway_addresses,
    interfaces,
    networks_of,
)
from core.network.tables import ROUTER_GATEWAY, Network, Port, Router, Subnet
from core.sql import select


def external(session: Session, ctx: Context, id_or_name: str) -> Network:
    """An external network that the caller may go out by. Raises NotFound, Invalid."""
    network = networks.find(session, ctx, id_or_name)
    if not network.external:
        raise Invalid(f"network {network.name} is not external", hint="skydeck network list --external shows them.")
    mine = select(Network.id).where(col(Network.id) == network.id, networks.reachable(ctx.project_id, EXTERNAL))
    if not ctx.is_admin and session.execute(mine).first() is None:
        raise NotFound(f"no external network {id_or_name!r} for this project", hint="Ask an admin to share it.")
    return network


def set_gateway(
    session: Session, ctx: Context, id_or_name: str, network: str, *, enable_snat: bool | None = None
) -> Router:
    """The router goes out by this network, in place of one it had.

    Raises Invalid for a network that is not external, Conflict while floating IPs go by another one, for overlapping
    subnets, and when the network has no address left for the router or its hosts; NotFound.
    """
    authorize(ctx, "router:set")
    router = find(session, ctx, id_or_name)
    outside = external(session, ctx, network)
    check_snat(ctx, enable_snat)
    before = {"external_network_id": router.external_network_id, "enable_snat": router.enable_snat}
    wanted = {
        "external_network_id": outside.id,
        "enable_snat": router.enable_snat if enable_snat is None else enable_snat,
    }
    if wanted == before:
        return router
    inside = networks_of(session, router.id)
    pending = [router.id]
    if outside.id != router.external_network_id:
        check_no_floating_ips(session, router, f"router {router.name} cannot go out by another network")
        drop_gateway(session, router)
        pending.append(_plug(session, router, outside).id)
    router.external_network_id, router.enable_snat = outside.id, bool(wanted["enable_snat"])
    session.flush()
    fabric.touch(session, networks=inside, pending=pending)
    record(session, ctx, router, kind="router", action="set_gateway", before=before, after=wanted)
    return router


def check_snat(ctx: Context, enable_snat: bool | None) -> None:
    """Untranslated, a project's addresses are seen outside, where the operator must route them: it is the operator's
    to allow (neutron's rule for enable_snat). Raises Forbidden."""
    if enable_snat is False:
        authorize(ctx, "router:no_snat")


def unset_gateway(session: Session, ctx: Context, id_or_name: str) -> Router:
    """The router leads nowhere outside. Raises Conflict while floating IPs go by it or when it has no gateway."""
    authorize(ctx, "router:set")
    router = find(session, ctx, id_or_name)
    if router.external_network_id is None:
        raise Conflict(f"router {router.name} has no gateway")
    check_no_floating_ips(session, router, f"router {router.name} cannot lose its gateway")
    before = {"external_network_id": router.external_network_id}
    fabric.touch(session, networks=networks_of(session, router.id), pending=[router.id])
    drop_gateway(session, router)
    router.external_network_id = None
    session.flush()
    record(
        session, ctx, router, kind="router", action="unset_gateway", before=before, after={"external_network_id": None}
    )
    return router


def drop_gateway(session: Session, router: Router) -> None:
    """The gateway port goes, with its address. Nothing when there is none."""
    query = select(Port).where(col(Port.device_id) == router.id, col(Port.device_owner) == ROUTER_GATEWAY)
    for port in session.execute(query).scalars().all():
        ports.remove(session, port)


def _plug(session: Session, router: Router, outside: Network) -> Port:
    mac = macs.free(session)
    chosen = addresses.choose(session, outside.id, mac=mac)
    if not chosen:
        raise Invalid(
            f"external network {outside.name} has no subnet", hint=f"skydeck subnet create --network {outside.name}"
        )
    blocks = [session.get_one(Subnet, subnet_id) for subnet_id, _ in chosen]
    check_no_overlap(router, interfaces(session, router.id), blocks)
    return ports.create(
        session,
        project_id="",
        network_id=outside.id,
        fixed=chosen,
        owner=ROUTER_GATEWAY,
        device_id=router.id,
        mac=mac,
        groups=(),
        port_security_enabled=False,
    )


__all__ = ("drop_gateway", "external", "gateway_addresses", "set_gateway", "unset_gateway")
