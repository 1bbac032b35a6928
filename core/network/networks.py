"""Networks: a layer-2 segment of a project's own, with the one subnet each has so far.

What a host is told of a network is built here too (`host_spec`): the ports that live on it. The full network
service (segments across hosts, routers, security groups) grows from these tables.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, func
from sqlmodel import Field, Session, SQLModel, col

from core import events, names
from core.context import Context
from core.errors import Conflict, Invalid, NotFound
from core.identity import quotas
from core.identity.policy import authorize
from core.network import ports, subnets
from core.network.ports import FixedIP, Port
from core.network.subnets import Subnet
from core.sql import select
from core.store import clock_of, now
from hostd.spec import DhcpHost, NetworkSpec, SubnetSpec, Want

DEFAULT_MTU = 1450
"""Room for VXLAN on an underlay of 1500."""


class Network(SQLModel, table=True):
    id: str = Field(primary_key=True)
    name: str
    project_id: str = Field(foreign_key="project.id", index=True)
    status: str = "ACTIVE"
    """ACTIVE DOWN BUILD ERROR, as neutron writes them."""
    mtu: int = DEFAULT_MTU
    description: str = ""
    shared: bool = False
    created_at: int = Field(sa_type=BigInteger)


class NetworkHost(SQLModel, table=True):
    """How far a host has been told about a network."""

    network_id: str = Field(primary_key=True)
    host_id: str = Field(primary_key=True)
    generation: int = 0
    """The newest given out."""
    digest: str = ""
    """Of the spec given out with that generation: the same spec again needs no new one."""
    applied: int = 0
    """The newest the host has confirmed."""


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
        select(func.count()).where(col(Port.network_id) == network.id, col(Port.device_owner) != ports.DHCP)
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


def host_spec(session: Session, network: Network, host_id: str) -> NetworkSpec:
    """What a host shall make of a network: its subnets, and the leases of the ports that live there."""
    rows = session.execute(
        select(Port.id, Port.mac, FixedIP.subnet_id, FixedIP.ip, Port.dns_name)
        .where(
            col(FixedIP.port_id) == col(Port.id),
            col(Port.network_id) == network.id,
            col(Port.host_id) == host_id,
            col(Port.device_owner) != ports.DHCP,
        )
        .order_by(col(Port.id), col(FixedIP.ip))
    ).all()
    of_subnet: dict[str, list[DhcpHost]] = {}
    for port_id, mac, subnet_id, ip, dns_name in rows:
        lease = DhcpHost(port_id=port_id, mac=mac, ip=ip, hostname=dns_name)
        of_subnet.setdefault(subnet_id, []).append(lease)
    return NetworkSpec(
        uuid=network.id,
        want=Want.PRESENT if rows else Want.ABSENT,
        mtu=network.mtu,
        subnets=tuple(
            SubnetSpec(
                id=subnet.id,
                cidr=subnet.cidr,
                gateway=subnet.gateway_ip,
                dhcp=subnet.enable_dhcp,
                service_ip=subnets.service_ip(session, subnet.id),
                dns_servers=tuple(subnet.dns_nameservers),
                hosts=tuple(of_subnet.get(subnet.id, ())),
            )
            for subnet in subnets.of_network(session, network.id)
        ),
    )
