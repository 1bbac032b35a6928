"""Finding routers, and what is on them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlmodel import Session, col

from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.identity.policy import authorize
from core.network.addresses import Block
from core.network.tables import ROUTER_GATEWAY, ROUTER_INTERFACE, FixedIP, FloatingIP, Port, Router, Subnet
from core.sql import select


class Attached(NamedTuple):
    """One address of a router."""

    port: Port
    ip: str
    subnet: Subnet

    @property
    def block(self) -> Block:
        return ipaddress.ip_network(self.subnet.cidr)


def find(session: Session, ctx: Context, id_or_name: str) -> Router:
    """By id, or a name unique in the project; an admin's own project wins. Raises NotFound, Invalid."""
    authorize(ctx, "router:list")
    query = select(Router).where((col(Router.id) == id_or_name) | (col(Router.name) == id_or_name))
    if not ctx.is_admin:
        query = query.where(col(Router.project_id) == ctx.project_id)
    rows = session.execute(query).scalars().all()
    own = [row for row in rows if row.project_id == ctx.project_id] or list(rows)
    if not own:
        raise NotFound(f"no router {id_or_name!r}", hint="skydeck router list shows them.")
    if len(own) > 1:
        raise Invalid(f"{len(own)} routers are named {id_or_name!r}", hint="Use the id.")
    return own[0]


def interfaces(session: Session, router_id: str) -> list[Attached]:
    """The addresses on the router's networks, in the order they were added."""
    return _attached(session, router_id, ROUTER_INTERFACE)


def gateway_addresses(session: Session, router_id: str) -> list[Attached]:
    """The addresses of the router's gateway port."""
    return _attached(session, router_id, ROUTER_GATEWAY)


def _attached(session: Session, router_id: str, owner: str) -> list[Attached]:
    query = (
        select(Port, FixedIP.ip, Subnet)
        .where(
            col(Port.device_id) == router_id,
            col(Port.device_owner) == owner,
            col(FixedIP.port_id) == col(Port.id),
            col(Subnet.id) == col(FixedIP.subnet_id),
        )
        .order_by(col(Port.created_at), col(Port.id), col(FixedIP.ip))
    )
    return [Attached(*row) for row in session.execute(query).all()]


def networks_of(session: Session, router_id: str) -> set[str]:
    """The networks that the router joins, its gateway's not included."""
    query = select(Port.network_id).where(col(Port.device_id) == router_id, col(Port.device_owner) == ROUTER_INTERFACE)
    return set(session.execute(query).scalars())


def check_no_overlap(router: Router, there: Iterable[Attached], new: Iterable[Subnet]) -> None:
    """Raise Conflict when a subnet to be attached shares addresses with one that is."""
    for subnet in new:
        block: Any = ipaddress.ip_network(subnet.cidr)
        for other in there:
            if other.subnet.id == subnet.id:
                raise Conflict(f"subnet {subnet.name} is on router {router.name} already")
            if other.block.version == block.version and other.block.overlaps(block):
                raise Conflict(
                    f"subnet {subnet.name} ({subnet.cidr}) overlaps {other.subnet.name} ({other.subnet.cidr}) on "
                    f"router {router.name}",
                    hint="A router can tell its networks apart by their addresses only.",
                )


def check_no_floating_ips(session: Session, router: Router, why: str, *, subnets: Sequence[str] | None = None) -> None:
    """Raise Conflict while floating IPs go by this router: any, or those of addresses in these subnets."""
    query = select(FloatingIP.address).where(col(FloatingIP.router_id) == router.id)
    if subnets is not None:
        query = query.where(
            col(FixedIP.port_id) == col(FloatingIP.port_id),
            col(FixedIP.ip) == col(FloatingIP.fixed_ip),
            col(FixedIP.subnet_id).in_(subnets),
        )
    held = sorted(session.execute(query).scalars())
    if held:
        raise Conflict(
            f"{why} while floating IPs need it: {', '.join(held[:5])}",
            hint="skydeck floating ip unset --port ADDRESS comes first.",
        )
