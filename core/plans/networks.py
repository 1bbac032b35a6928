"""Deleting a network that is in use: what is plugged into it is unplugged first."""

from __future__ import annotations

from sqlmodel import Session, col

from core.compute.instances import interfaces
from core.compute.instances.table import Instance
from core.context import Context
from core.identity.policy import authorize
from core.identity.projects import Project
from core.network import floating_ips, networks, ports, routers
from core.network.tables import (
    DHCP,
    FLOATING_IP,
    HOST_GATEWAY,
    ROUTER_GATEWAY,
    ROUTER_INTERFACE,
    FloatingIP,
    Network,
    Port,
    Router,
)
from core.plans.model import Blocker, Plan, Step
from core.plans.steps import Obstacles, delete_port, free_floating_ips, step
from core.sql import select

_FREE, _UNPLUG, _PART, _PORTS, _NETWORK = range(5)

_SERVED = (DHCP, HOST_GATEWAY)
"""Ports of the network's own services: they go with it."""


def delete(session: Session, ctx: Context, id_or_name: str) -> Plan:
    """Raises NotFound, Forbidden."""
    authorize(ctx, "network:delete")
    network = networks.owned(session, ctx, id_or_name)
    blockers = Obstacles(session)
    plugged = _plugged(session, network)
    steps = [
        *free_floating_ips(session, _FREE, [port.id for port in plugged]),
        *_outside(session, network),
        *_unplug(session, ctx, plugged, blockers),
        step(_NETWORK, "delete", "network", network, networks.delete, "with its subnets"),
    ]
    if not ctx.is_admin:
        strangers(session, network, ctx.project_id, blockers)
    return Plan(
        name="network.delete",
        object_id=network.id,
        word=network.name,
        title=f"delete network {network.name}" + (" and unplug all that is on it" if len(steps) > 1 else ""),
        steps=tuple(sorted(steps, key=lambda one: (one.phase, one.kind, one.name))),
        blockers=blockers.all(),
        keeps=("the servers, which lose an interface",) if any(one.act == "detach" for one in steps) else (),
    )


def strangers(session: Session, network: Network, project_id: str, blockers: Obstacles) -> None:
    """Other projects have something on it, which only they or an admin take off."""
    query = (
        select(Project.name)
        .where(
            col(Port.network_id) == network.id,
            ~col(Port.device_owner).startswith("network:"),
            col(Port.project_id) != project_id,
            col(Project.id) == col(Port.project_id),
        )
        .distinct()
        .order_by(col(Project.name))
    )
    names = list(session.execute(query).scalars())
    if names:
        blockers.add(
            Blocker(
                what=f"network {network.name} has ports of project {', '.join(names)}",
                hint=f"They go first: plan the delete of network {network.name} alone, or ask there.",
            )
        )


def _plugged(session: Session, network: Network) -> list[Port]:
    query = select(Port).where(col(Port.network_id) == network.id, ~col(Port.device_owner).in_(_SERVED))
    return list(session.execute(query.order_by(col(Port.created_at), col(Port.id))).scalars())


def _outside(session: Session, network: Network) -> list[Step]:
    """What an external network gives: floating IPs, and routers' ways out."""
    pool = select(FloatingIP).where(col(FloatingIP.network_id) == network.id).order_by(col(FloatingIP.address))
    steps = [
        step(_FREE, "delete", "floating IP", row, floating_ips.delete, "the address is given back")
        for row in session.execute(pool).scalars()
    ]
    led = select(Router).where(col(Router.external_network_id) == network.id).order_by(col(Router.name))
    for row in session.execute(led).scalars():
        steps.append(step(_UNPLUG, "close the way out of", "router", row, routers.unset_gateway))
    return steps


def _unplug(session: Session, ctx: Context, plugged: list[Port], blockers: Obstacles) -> list[Step]:
    steps: list[Step] = []
    for port in plugged:
        address = ", ".join(ports.addresses(session, port.id)) or port.mac
        if port.device_owner in (ROUTER_GATEWAY, FLOATING_IP):
            continue  # goes with what has it
        if port.device_owner == ROUTER_INTERFACE:
            router = session.get_one(Router, port.device_id)
            steps.append(step(_PART, "part", "router", router, routers.remove_port, address, port=port.id))
            continue
        instance = session.get(Instance, port.device_id) if port.device_id else None
        if instance is not None and instance.deleted_at == 0:
            steps.append(step(_UNPLUG, "detach", "server", instance, interfaces.detach, address, port=port.id))
            blockers.refused(ctx, instance, "detach_interface")
            blockers.waits(instance)
        if instance is None or not port.made_for_device:
            steps.append(delete_port(_PORTS, port, address))
    return steps
