"""Making, changing and deleting networks."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col

from core import names
from core.audit import change, record
from core.config import Config
from core.context import Context
from core.errors import Conflict, Invalid
from core.identity import quotas
from core.identity.policy import authorize
from core.network import fabric, segments, usage  # noqa: F401 - usage tells the quotas how nouns are counted
from core.network.networks import access
from core.network.networks.access import EVERYONE, EXTERNAL, SHARED, owned
from core.network.tables import DHCP, HOST_GATEWAY, FixedIP, FloatingIP, Network, Port, Router, Subnet
from core.sql import select
from core.store import clock_of, now

SMALLEST_MTU = 68
"""IPv4's."""
SMALLEST_MTU_6 = 1280
"""What IPv6 asks of every link."""
UNDERLAY_MTU = 1500
"""Ethernet's, where the caller knows no better."""

_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


def create(
    session: Session,
    ctx: Context,
    config: Config,
    *,
    name: str,
    mtu: int | None = None,
    description: str = "",
    shared: bool = False,
    external: bool = False,
    default: bool = False,
    network_type: str | None = None,
    physical_network: str | None = None,
    segmentation_id: int | None = None,
    port_security: bool = True,
    dns_domain: str = "",
    flood: bool = False,
    admin_state_up: bool = True,
) -> Network:
    """An empty network: it needs a subnet before a guest gets an address from it.

    Without `mtu`, the largest that the underlay carries. Raises Forbidden for what is the operator's alone, Invalid,
    QuotaExceeded, Conflict for a segment that is taken, or when no segment is left.
    """
    authorize(ctx, "network:create")
    if (network_type, physical_network, segmentation_id) != (None, None, None):
        authorize(ctx, "network:provider")
    _authorize_exposure(ctx, shared=shared, external=external or default)
    names.check(name, "network")
    domain = _domain(dns_domain)
    if default:
        _check_default(session, external=external)
    quotas.check(session, ctx, networks=1)
    segment = segments.assign(session, config, type=network_type, physical_network=physical_network, id=segmentation_id)
    largest = segments.largest_mtu(segment.type, config.underlay_mtu)
    network = Network(
        id=clock_of(session).uuid(),
        name=name,
        project_id=ctx.project_id,
        mtu=_mtu(largest if mtu is None else mtu, largest),
        description=description,
        shared=shared,
        external=external,
        is_default=default,
        network_type=segment.type.value,
        physical_network=segment.physical_network,
        segmentation_id=segment.id,
        port_security_enabled=port_security,
        dns_domain=domain,
        flood=flood,
        admin_state_up=admin_state_up,
        created_at=now(session),
    )
    session.add(network)
    try:
        session.flush()
    except IntegrityError as lost:
        raise Conflict(
            f"segment {segment.id} was taken at the same moment, or another default external network was made",
            hint="Try again.",
        ) from lost
    if shared:
        access.grant(session, network, SHARED, EVERYONE)
    if external:
        access.grant(session, network, EXTERNAL, EVERYONE)
    kept = ("network_type", "segmentation_id", "mtu", "shared", "external")
    after = {field: getattr(network, field) for field in kept}
    record(session, ctx, network, kind="network", action="create", after=after)
    return network


def set(
    session: Session,
    ctx: Context,
    id_or_name: str,
    *,
    name: str | None = None,
    description: str | None = None,
    shared: bool | None = None,
    external: bool | None = None,
    default: bool | None = None,
    port_security: bool | None = None,
    admin_state_up: bool | None = None,
    mtu: int | None = None,
    dns_domain: str | None = None,
    flood: bool | None = None,
    underlay_mtu: int = UNDERLAY_MTU,
) -> Network:
    """Change what is not None. `port_security` is what ports made from now on get.

    Raises Conflict when others use what is withdrawn, or another network is the default, Invalid, Forbidden, NotFound.
    """
    authorize(ctx, "network:set")
    network = owned(session, ctx, id_or_name)
    _authorize_exposure(
        ctx,
        shared=shared is not None and shared != network.shared,
        external=(external is not None and external != network.external)
        or (default is not None and default != network.is_default),
    )
    if external is False and default is None:
        default = False
    asked: dict[str, Any] = {
        "name": None if name is None else names.check(name, "network"),
        "description": description,
        "shared": shared,
        "external": external,
        "is_default": default,
        "port_security_enabled": port_security,
        "admin_state_up": admin_state_up,
        "mtu": None if mtu is None else _mtu(mtu, segments.largest_mtu(network.network_type, underlay_mtu)),
        "dns_domain": None if dns_domain is None else _domain(dns_domain),
        "flood": flood,
    }
    if default and not network.is_default:
        _check_default(session, external=network.external if external is None else external)
    if mtu is not None and mtu < SMALLEST_MTU_6 and _has_ipv6(session, network):
        raise Conflict(f"network {network.name} has IPv6 subnets, which need an MTU of {SMALLEST_MTU_6}")
    _expose(session, network, SHARED, was=network.shared, now_=shared)
    _expose(session, network, EXTERNAL, was=network.external, now_=external)
    if change(session, ctx, network, kind="network", values={k: v for k, v in asked.items() if v is not None}):
        fabric.touch(session, networks=[network.id])
    return network


def delete(session: Session, ctx: Context, id_or_name: str) -> None:
    """The network, its subnets and its services' ports. Raises Conflict while anything else is on it."""
    authorize(ctx, "network:delete")
    network = owned(session, ctx, id_or_name)
    if network.external:
        _check_no_way_out(session, network)
    served = col(Port.device_owner).in_((DHCP, HOST_GATEWAY))
    held = session.execute(select(func.count()).where(col(Port.network_id) == network.id, ~served)).scalar_one()
    if held:
        raise Conflict(
            f"network {network.name} still has {held} ports", hint="Delete what is on it first: skydeck port list."
        )
    fabric.touch(session, networks=[network.id])
    for table, whose in ((FixedIP, FixedIP.network_id), (Port, Port.network_id), (Subnet, Subnet.network_id)):
        session.execute(sql_delete(table).where(col(whose) == network.id))
    session.delete(network)
    session.flush()
    record(session, ctx, network, kind="network", action="delete")


def _authorize_exposure(ctx: Context, *, shared: bool, external: bool) -> None:
    if shared:
        authorize(ctx, "network:share_all")
    if external:
        authorize(ctx, "network:external")


def _expose(session: Session, network: Network, action: str, *, was: bool, now_: bool | None) -> None:
    """Keep the policy that names everybody in step with the flag."""
    if now_ is None or now_ == was:
        return
    if now_:
        if access.policy(session, network, action, EVERYONE) is None:
            access.grant(session, network, action, EVERYONE)
        return
    if action == EXTERNAL:
        _check_no_way_out(session, network)
    for row in access.policies(session, network, action):
        if action == EXTERNAL or row.target_project == EVERYONE:
            access.withdraw(session, row, network)


def _check_no_way_out(session: Session, network: Network) -> None:
    """Raise Conflict while routers go out by it or floating IPs come from it, its own project's too."""
    for what, table, whose in (
        ("routers' gateways", Router, Router.external_network_id),
        ("floating IPs", FloatingIP, FloatingIP.network_id),
    ):
        count = session.execute(select(func.count()).select_from(table).where(col(whose) == network.id)).scalar_one()
        if count:
            raise Conflict(f"network {network.name} still has {count} {what}", hint="They go first.")


def _check_default(session: Session, *, external: bool) -> None:
    if not external:
        raise Invalid("only an external network can be the default", hint="Make it external too.")
    other = session.execute(select(Network.name).where(col(Network.is_default))).scalar_one_or_none()
    if other is not None:
        raise Conflict(
            f"network {other} is the default external network", hint=f"skydeck network set --no-default {other}"
        )


def _mtu(mtu: int, largest: int) -> int:
    if not SMALLEST_MTU <= mtu <= largest:
        raise Invalid(f"an MTU cannot be {mtu}", hint=f"Between {SMALLEST_MTU} and {largest} (the underlay).")
    return mtu


def _has_ipv6(session: Session, network: Network) -> bool:
    query = select(Subnet.id).where(col(Subnet.network_id) == network.id, col(Subnet.ip_version) == 6)
    return session.execute(query).first() is not None


def _domain(text: str) -> str:
    """A DNS domain in lower case, without the dot neutron writes at its end."""
    domain = text.lower().removesuffix(".")
    if domain and not _DOMAIN.fullmatch(domain):
        raise Invalid(f"{text!r} is not a DNS domain", hint="For example lab.example.")
    return domain
