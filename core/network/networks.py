"""Networks: a layer-2 segment of a project's own, with the one subnet each has so far."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col

from core import events, names
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.identity import quotas
from core.identity.policy import authorize
from core.network import subnets
from core.network.tables import DEFAULT_MTU, DHCP, Network, Port, Subnet
from core.sql import select
from core.store import clock_of, now


@quotas.counts("networks")
def _count(project_id: str) -> Any:
    return select(func.count()).where(col(Network.project_id) == project_id)


def visible(ctx: Context) -> Any:
    return True if ctx.is_admin else (col(Network.project_id) == ctx.project_id) | col(Network.shared)


def find(session: Session, ctx: Context, id_or_name: str) -> Network:
    """By id, or a name unique among those the caller sees; its own project's win. Raises NotFound, Invalid."""
    authorize(ctx, "network:list")
    wanted = (col(Network.id) == id_or_name) | (col(Network.name) == id_or_name)
    rows = session.execute(select(Network).where(wanted, visible(ctx))).scalars().all()
    own = [row for row in rows if row.project_id == ctx.project_id] or list(rows)
    if not own:
        raise NotFound(f"no network {id_or_name!r}", hint="skydeck network list shows them.")
    if len(own) > 1:
        raise Invalid(f"{len(own)} networks are named {id_or_name!r}", hint="Use the id.")
    return own[0]


def create(session: Session, ctx: Context, *, name: str, mtu: int = DEFAULT_MTU, description: str = "") -> Network:
    """An empty network: it needs a subnet before a guest gets an address from it."""
    authorize(ctx, "network:create")
    names.check(name, "network")
    if not 68 <= mtu <= 9216:
        raise Invalid(f"an MTU cannot be {mtu}", hint="Between 68 and 9216; 1450 leaves room for tunnels.")
    quotas.check(session, ctx, networks=1)
    network = Network(
        id=clock_of(session).uuid(),
        name=name,
        project_id=ctx.project_id,
        mtu=mtu,
        description=description,
        created_at=now(session),
    )
    session.add(network)
    session.flush()
    events.record(session, ctx, "network.create", kind="network", id=network.id, name=name, project_id=ctx.project_id)
    return network


def delete(session: Session, ctx: Context, id_or_name: str) -> None:
    """Raises Conflict while guests' ports are on it. Its DHCP port and its subnets go with it."""
    authorize(ctx, "network:delete")
    network = find(session, ctx, id_or_name)
    if network.project_id != ctx.project_id and not ctx.is_admin:
        raise NotFound(f"no network {id_or_name!r} of yours")
    held = session.execute(
        select(func.count()).where(col(Port.network_id) == network.id, col(Port.device_owner) != DHCP)
    ).scalar_one()
    if held:
        raise Conflict(f"network {network.name} still has {held} ports", hint="Delete the instances on it first.")
    for port in session.execute(select(Port).where(col(Port.network_id) == network.id)).scalars():
        session.delete(port)
    session.flush()
    for subnet in session.execute(select(Subnet).where(col(Subnet.network_id) == network.id)).scalars():
        session.delete(subnet)
    session.flush()
    session.delete(network)
    session.info["enqueued"] = True  # hosts that still carry it are told
    events.record(
        session, ctx, "network.delete", kind="network", id=network.id, name=network.name, project_id=network.project_id
    )


def default_for(session: Session, ctx: Context, cidr: str) -> Network:
    """The network a launch gets that names none: the project's only one, or a new one called `default`.

    Raises Invalid when the project has several and none is called `default`.
    """
    own = (
        session.execute(
            select(Network).where(col(Network.project_id) == ctx.project_id).order_by(col(Network.created_at))
        )
        .scalars()
        .all()
    )
    usable = [network for network in own if subnets.of_network(session, network.id)]
    if len(usable) == 1:
        return usable[0]
    for network in usable:
        if network.name == "default":
            return network
    if usable:
        raise Invalid(
            f"project {ctx.project_name} has {len(usable)} networks",
            hint=f"Choose with --network: {', '.join(network.name for network in usable[:5])}.",
        )
    network = create(session, ctx, name="default")
    subnets.create(session, ctx, name="default", network=network.id, project_id=network.project_id, cidr=cidr)
    return network
