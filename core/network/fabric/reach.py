"""Which hosts carry what: the closures of networks over routers, external networks and security groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import or_
from sqlmodel import Session, col

from core.network.tables import GUEST, ROUTER_INTERFACE, Port, PortSecurityGroup, Router, SecurityGroupRule
from core.sql import select

PLUGGED: Any = col(Port.device_owner).startswith(GUEST) & col(Port.host_id).is_not(None)
"""A WHERE: guests' ports that are on a host. No other is any host's business."""


def joined(session: Session, networks: Iterable[str]) -> set[str]:
    """These networks and all that routers join to them: what a host that carries one of them carries."""
    found = set(networks)
    edge = found
    while edge:
        routers = select(Port.device_id).where(
            col(Port.network_id).in_(edge), col(Port.device_owner) == ROUTER_INTERFACE
        )
        legs = select(Port.network_id).where(
            col(Port.device_id).in_(routers), col(Port.device_owner) == ROUTER_INTERFACE
        )
        edge = set(session.execute(legs.distinct()).scalars()) - found
        found |= edge
    return found


def behind(session: Session, networks: Iterable[str]) -> set[str]:
    """The networks with a router that goes out by one of these."""
    legs = select(Port.network_id).where(
        col(Port.device_id) == col(Router.id),
        col(Port.device_owner) == ROUTER_INTERFACE,
        col(Router.external_network_id).in_(set(networks)),
    )
    return set(session.execute(legs.distinct()).scalars())


def hosts_reaching(session: Session, networks: Iterable[str]) -> set[str]:
    """The hosts that carry any of these networks: those with a guest's port on it, or on one joined to it by routers.

    Of an external network also: the hosts of the networks whose routers go out by it.
    """
    named = set(networks)
    return with_ports(session, joined(session, named | behind(session, named))) if named else set()


def with_ports(session: Session, networks: Iterable[str]) -> set[str]:
    """The hosts with a guest's port on one of these networks."""
    hosts = select(Port.host_id).where(col(Port.network_id).in_(set(networks)), PLUGGED)
    return set(session.execute(hosts.distinct()).scalars())


def on_host(session: Session, host_id: str) -> set[str]:
    """The networks that guests of this host have ports on."""
    networks = select(Port.network_id).where(col(Port.host_id) == host_id, PLUGGED)
    return set(session.execute(networks.distinct()).scalars())


def with_groups(session: Session, groups: Iterable[str]) -> set[str]:
    """The hosts with ports in these groups, or in groups whose rules name these as the other side."""
    named = set(groups)
    if not named:
        return set()
    naming = select(SecurityGroupRule.security_group_id).where(col(SecurityGroupRule.remote_group_id).in_(named))
    hosts = select(Port.host_id).where(
        col(Port.id) == col(PortSecurityGroup.port_id),
        PLUGGED,
        or_(col(PortSecurityGroup.security_group_id).in_(named), col(PortSecurityGroup.security_group_id).in_(naming)),
    )
    return set(session.execute(hosts.distinct()).scalars())


def ways_out(session: Session, networks: Iterable[str]) -> set[str]:
    """The external networks that guests of these networks are hidden behind an address of: their routers' gateways,
    as far as those routers translate sources."""
    gateways = select(Router.external_network_id).where(
        col(Router.id) == col(Port.device_id),
        col(Port.network_id).in_(set(networks)),
        col(Port.device_owner) == ROUTER_INTERFACE,
        col(Router.external_network_id).is_not(None),
        col(Router.enable_snat),
        col(Router.admin_state_up),
    )
    return set(session.execute(gateways.distinct()).scalars())
