"""Networking that makes itself: the operator says once where the world is, and every project's first launch finds a
network, a router and a way out."""

from __future__ import annotations

from sqlmodel import Session, col

from core.config import Config
from core.context import Context
from core.errors import Conflict
from core.hosts.table import Host
from core.identity.policy import authorize
from core.network import networks, routers, subnets
from core.network.networks.access import EXTERNAL
from core.network.tables import Network, Router, Subnet
from core.sql import select
from hostd.spec import SegmentType

DEFAULT = "default"
"""What the network, subnet and router are called that a project gets by itself."""


def auto(
    session: Session,
    ctx: Context,
    config: Config,
    *,
    physical_network: str,
    cidr: str,
    gateway: str | None = None,
    pool: tuple[str, str] | None = None,
    name: str = "public",
    segmentation_id: int | None = None,
) -> Network:
    """The default external network: flat on a physical network, or the VLAN `segmentation_id` of it, with a subnet of
    `cidr` without DHCP, whose addresses (all, or `pool`, first and last) become routers', hosts' and floating IPs.

    Raises Conflict when no host has the physical network, or there is a default external network; Invalid, Forbidden.
    """
    authorize(ctx, "network:external")
    _check_hosts(session, physical_network)
    network = networks.create(
        session,
        ctx,
        config,
        name=name,
        external=True,
        default=True,
        network_type=(SegmentType.FLAT if segmentation_id is None else SegmentType.VLAN).value,
        physical_network=physical_network,
        segmentation_id=segmentation_id,
    )
    subnets.create(
        session,
        ctx,
        name=name,
        network=network.id,
        project_id=network.project_id,
        cidr=cidr,
        gateway=gateway,
        dhcp=False,
        pools=() if pool is None else (pool,),
    )
    return network


def lead_out(session: Session, ctx: Context, subnet: Subnet) -> Router | None:
    """A router `default` from this subnet to the default external network; None when there is no such network for the
    caller. Raises QuotaExceeded, and Conflict when the external network has no address left."""
    outside = select(Network.id).where(
        col(Network.is_default), col(Network.external), networks.reachable(ctx.project_id, EXTERNAL)
    )
    network_id = session.execute(outside).scalars().first()
    if network_id is None:
        return None
    router = routers.create(session, ctx, name=DEFAULT, external_gateway=network_id)
    routers.add_subnet(session, ctx, router.id, subnet.id)
    return router


def _check_hosts(session: Session, physical_network: str) -> None:
    hosts = session.execute(select(Host.name, Host.physnets).order_by(col(Host.name))).all()
    if any(physical_network in physnets for _, physnets in hosts):
        return
    known = sorted({name for _, physnets in hosts for name in physnets})
    example = hosts[0][0] if hosts else "HOST"
    raise Conflict(
        f"no host has a way to physical network {physical_network!r}",
        hint=f"skydeck host set --physnet {physical_network}=INTERFACE {example}"
        + (f", or use one that hosts have: {', '.join(known)}." if known else "."),
    )
