"""Making, changing and deleting routers."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from sqlalchemy import delete as sql_delete
from sqlmodel import Session, col

from core import names
from core.audit import change, record
from core.context import Context
from core.errors import Conflict, Invalid
from core.identity import quotas
from core.identity.policy import authorize
from core.network import addresses, fabric, usage  # noqa: F401 - usage tells the quotas how routers are counted
from core.network.fabric import NetworkingPending
from core.network.routers.access import Attached, find, interfaces, networks_of
from core.network.routers.gateway import check_snat, drop_gateway, set_gateway
from core.network.tables import Router
from core.store import clock_of, now

MOST_ROUTES: Final = 30
"""neutron's max_routes."""


def create(
    session: Session,
    ctx: Context,
    *,
    name: str,
    description: str = "",
    external_gateway: str | None = None,
    enable_snat: bool = True,
    admin_state_up: bool = True,
) -> Router:
    """A router, without any network yet; with a gateway on `external_gateway` (network id or name).

    Raises Invalid, QuotaExceeded, NotFound, Forbidden; Conflict when the external network has no address left.
    """
    authorize(ctx, "router:create")
    check_snat(ctx, enable_snat)
    names.check(name, "router")
    quotas.check(session, ctx, routers=1)
    router = Router(
        id=clock_of(session).uuid(),
        name=name,
        project_id=ctx.project_id,
        status="DOWN",
        description=description,
        enable_snat=enable_snat,
        admin_state_up=admin_state_up,
        created_at=now(session),
    )
    session.add(router)
    session.flush()
    after = {"name": name, "enable_snat": enable_snat, "admin_state_up": admin_state_up}
    record(session, ctx, router, kind="router", action="create", after=after)
    if external_gateway is not None:
        set_gateway(session, ctx, router.id, external_gateway)
    fabric.settle(session, [router.id])
    session.refresh(router)
    return router


def set(
    session: Session,
    ctx: Context,
    id_or_name: str,
    *,
    name: str | None = None,
    description: str | None = None,
    admin_state_up: bool | None = None,
    enable_snat: bool | None = None,
    routes: tuple[tuple[str, str], ...] | None = None,
) -> Router:
    """Change what is not None. `routes` are (destination, next hop) and replace all there were.

    Raises Invalid, NotFound; Conflict when a host needs an address of the external network and none is left.
    """
    authorize(ctx, "router:set")
    check_snat(ctx, enable_snat)
    router = find(session, ctx, id_or_name)
    values: dict[str, Any] = {
        "name": None if name is None else names.check(name, "router"),
        "description": description,
        "admin_state_up": admin_state_up,
        "enable_snat": enable_snat,
        "routes": None if routes is None else _routes(router, interfaces(session, router.id), routes),
    }
    given = {field: value for field, value in values.items() if value is not None}
    changed = change(session, ctx, router, kind="router", values=given)
    if changed.keys() & {"admin_state_up", "enable_snat", "routes"}:
        if "admin_state_up" in changed:
            router.status = "DOWN"
            session.flush()
        fabric.touch(session, networks=networks_of(session, router.id), pending=[router.id])
        session.refresh(router)
    return router


def delete(session: Session, ctx: Context, id_or_name: str) -> None:
    """The router and its gateway. Raises Conflict while it has interfaces, NotFound."""
    authorize(ctx, "router:delete")
    router = find(session, ctx, id_or_name)
    attached = interfaces(session, router.id)
    if attached:
        raise Conflict(
            f"router {router.name} still joins {', '.join(sorted({on.subnet.name for on in attached})[:5])}",
            hint=f"skydeck router remove subnet {router.name} SUBNET comes first.",
        )
    drop_gateway(session, router)
    session.execute(sql_delete(NetworkingPending).where(col(NetworkingPending.object_id) == router.id))
    session.delete(router)
    session.flush()
    record(session, ctx, router, kind="router", action="delete")


def _routes(router: Router, attached: list[Attached], wanted: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    """Raises Invalid for a next hop that is on none of the router's networks, or is the router."""
    if len(wanted) > MOST_ROUTES:
        raise Invalid(f"a router has at most {MOST_ROUTES} routes")
    found: dict[tuple[str, str], dict[str, str]] = {}
    for to, via in wanted:
        destination = addresses.block(to, "destination")
        hop = addresses.address(via, "next hop")
        if destination.version != hop.version:
            raise Invalid(f"{hop} cannot lead to {destination}", hint="Both are IPv4, or both IPv6.")
        if not any(hop in on.block for on in attached):
            raise Invalid(
                f"next hop {hop} is on no network of router {router.name}",
                hint=f"Its subnets: {', '.join(on.subnet.cidr for on in attached) or 'none yet'}.",
            )
        if any(hop == ipaddress.ip_address(on.ip) for on in attached):
            raise Invalid(f"next hop {hop} is router {router.name} itself")
        found[str(destination), str(hop)] = {"destination": str(destination), "nexthop": str(hop)}
    return [found[key] for key in sorted(found)]
