"""`skydeck router`: what joins networks to each other and to the world."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.errors import Invalid, NotFound
from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, name_of, names_of, shows
from tui.cli.noun import Filter, Noun, Row, column, entries, hops, listed, moment, number, up
from tui.cli.options import DescriptionOption, routes


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.network import fabric, routers

    found = routers.find(session, ctx, name)
    return listed(session, ctx, "router", found.id) | {"pending_on": fabric.pending_on(session, found.id)}


def _gateway(row: Row) -> dict[str, Any] | None:
    """As neutron writes external_gateway_info."""
    if row["external_network_id"] is None:
        return None
    return {
        "network_id": row["external_network_id"],
        "external_fixed_ips": row["external_fixed_ips"],
        "enable_snat": row["enable_snat"],
    }


def _shown_gateway(gateway: dict[str, Any] | None) -> str:
    if gateway is None:
        return ""
    addresses = ", ".join(each["ip_address"] for each in gateway["external_fixed_ips"])
    return f"network_id='{gateway['network_id']}', ip_address='{addresses}', enable_snat='{gateway['enable_snat']}'"


def _network(session: Any, ctx: Any, name: str) -> str:
    from core.network import networks

    return networks.find(session, ctx, name).id


ROUTER = Noun(
    kind="router",
    word="router",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("Status", "status"),
        up("State", "admin_state_up"),
        column("Project", "project"),
        hops("Routes", "routes", long=True),
        column("External gateway info", _gateway, human=_shown_gateway, long=True),
        number("Interfaces", "interfaces", long=True),
    ),
    fields=(
        up("admin_state_up", "admin_state_up"),
        moment("created_at", "created_at"),
        column("description", "description"),
        column("external_gateway_info", _gateway, human=_shown_gateway),
        column("id", "id"),
        entries("interfaces_info", "interfaces_info"),
        column("name", "name"),
        column("pending_on", "pending_on"),
        column("project_id", "project_id"),
        hops("routes", "routes"),
        column("status", "status"),
    ),
    find=_find,
    filters=(
        Filter(option="--status", column="status", help="ACTIVE or DOWN."),
        Filter(option="--enable/--disable", column="admin_state_up", help="Enabled ones, or disabled.", flag=True),
        Filter(
            option="--external-gateway", column="external_network_id", help="Going out by this one.", resolve=_network
        ),
    ),
)

app = group("What joins networks to each other and to the world.")
add_list(app, ROUTER, help="List routers.")
add_show(app, ROUTER, help="Show a router, and the hosts that have not confirmed it yet.")

add = group("Join something to a router.")
remove = group("Part something from a router.")
app.add_typer(add, name="add")
app.add_typer(remove, name="remove")

RouterName = Annotated[str, name_of(ROUTER)]
SubnetName = Annotated[str, typer.Argument(metavar="SUBNET", help="Name or id.", autocompletion=names_of("subnet"))]
PortName = Annotated[str, typer.Argument(metavar="PORT", help="Name or id.", autocompletion=names_of("port"))]
GatewayOption = Annotated[
    str | None,
    typer.Option("--external-gateway", metavar="NETWORK", help="The way out.", autocompletion=names_of("network")),
]
SnatOption = Annotated[
    bool | None,
    typer.Option("--enable-snat/--disable-snat", help="Whether servers without a floating IP get out (as usual)."),
]
EnableOption = Annotated[bool | None, typer.Option("--enable/--disable", help="Whether it routes at all.")]
RouteOption = Annotated[
    list[str] | None, typer.Option("--route", metavar="destination=CIDR,gateway=IP", help="May be repeated.")
]


@app.command()
@shows(ROUTER)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    external_gateway: GatewayOption = None,
    snat: SnatOption = None,
    enable: EnableOption = None,
    description: DescriptionOption = None,
) -> Row:
    """Create a router. `router add subnet` joins networks to it."""
    from core.network import routers

    with caller().write() as (session, ctx):
        made = routers.create(
            session,
            ctx,
            name=name,
            description=description or "",
            external_gateway=external_gateway,
            enable_snat=snat is not False,
            admin_state_up=enable is not False,
        )
        return _find(session, ctx, made.id)


@app.command("set")
def set_(
    router: RouterName,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Rename it.")] = None,
    external_gateway: GatewayOption = None,
    snat: SnatOption = None,
    route: RouteOption = None,
    no_route: Annotated[bool, typer.Option("--no-route", help="The routes it has go.")] = False,
    enable: EnableOption = None,
    description: DescriptionOption = None,
) -> None:
    """Change a router. Routes are added to those it has; with --no-route, in their place."""
    from core.network import routers

    with caller().write() as (session, ctx):
        row = _find(session, ctx, router)
        had = () if no_route else _routes(row)
        routers.set(
            session,
            ctx,
            row["id"],
            name=name,
            description=description,
            admin_state_up=enable,
            enable_snat=None if external_gateway else snat,
            routes=(*had, *routes(route, "route")) if route or no_route else None,
        )
        if external_gateway is not None:
            routers.set_gateway(session, ctx, row["id"], external_gateway, enable_snat=snat)


@app.command()
def unset(
    router: RouterName,
    external_gateway: Annotated[bool, typer.Option("--external-gateway", help="It leads nowhere outside.")] = False,
    route: RouteOption = None,
) -> None:
    """Take the way out, or routes, off a router."""
    from core.network import routers

    if not (external_gateway or route):
        raise Invalid("nothing was named", hint="--external-gateway, or --route destination=CIDR,gateway=IP.")
    with caller().write() as (session, ctx):
        row = _find(session, ctx, router)
        gone, had = routes(route, "route"), _routes(row)
        for destination, hop in gone:
            if (destination, hop) not in had:
                raise NotFound(f"router {row['name']} has no route to {destination} by {hop}")
        if gone:
            routers.set(session, ctx, row["id"], routes=tuple(each for each in had if each not in gone))
        if external_gateway:
            routers.unset_gateway(session, ctx, row["id"])


def _routes(row: Row) -> tuple[tuple[str, str], ...]:
    return tuple((each["destination"], each["nexthop"]) for each in row["routes"])


@add.command("subnet")
def add_subnet(router: RouterName, subnet: SubnetName) -> None:
    """Join a subnet to a router, which has the gateway's address from now on."""
    from core.network import routers

    with caller().write() as (session, ctx):
        routers.add_subnet(session, ctx, router, subnet)


@add.command("port")
def add_port(router: RouterName, port: PortName) -> None:
    """Join a network to a router by a port, whose addresses are the router's from now on."""
    from core.network import routers

    with caller().write() as (session, ctx):
        routers.add_port(session, ctx, router, port)


@remove.command("subnet")
def remove_subnet(router: RouterName, subnet: SubnetName) -> None:
    """Part a subnet from a router."""
    from core.network import routers

    with caller().write() as (session, ctx):
        routers.remove_subnet(session, ctx, router, subnet)


@remove.command("port")
def remove_port(router: RouterName, port: PortName) -> None:
    """Part what a port joins from a router; the port goes."""
    from core.network import routers

    with caller().write() as (session, ctx):
        routers.remove_port(session, ctx, router, port)


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.network import routers

    routers.delete(session, ctx, name)


add_delete(app, ROUTER, _delete, help="Delete routers that join nothing any more.")
