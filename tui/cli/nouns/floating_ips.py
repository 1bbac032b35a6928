"""`skydeck floating ip`: addresses of the outside that lead to servers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, names_of, shows
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment
from tui.cli.options import DescriptionOption


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.network import fabric, floating_ips

    found = floating_ips.find(session, ctx, name)
    return listed(session, ctx, "floating_ip", found.id) | {"pending_on": fabric.pending_on(session, found.id)}


def _network(session: Any, ctx: Any, name: str) -> str:
    from core.network import networks

    return networks.find(session, ctx, name).id


def _port(session: Any, ctx: Any, name: str) -> str:
    from core.network import ports

    return ports.find(session, ctx, name).id


def _router(session: Any, ctx: Any, name: str) -> str:
    from core.network import routers

    return routers.find(session, ctx, name).id


FLOATING_IP = Noun(
    kind="floating_ip",
    word="floating ip",
    columns=(
        column("ID", "id"),
        column("Floating IP Address", "address"),
        column("Fixed IP Address", "fixed_ip"),
        column("Port", "port_id"),
        column("Floating Network", "network_id"),
        column("Project", "project_id"),
        long("Router", "router_id"),
        long("Status", "status"),
        long("Server", "server"),
        long("Network Name", "network"),
        long("Description", "description"),
    ),
    fields=(
        moment("created_at", "created_at"),
        column("description", "description"),
        column("fixed_ip_address", "fixed_ip"),
        column("floating_ip_address", "address"),
        column("floating_network_id", "network_id"),
        column("id", "id"),
        column("name", "address"),
        column("pending_on", "pending_on"),
        column("port_id", "port_id"),
        column("project_id", "project_id"),
        column("router_id", "router_id"),
        column("server", "server"),
        column("status", "status"),
    ),
    find=_find,
    filters=(
        Filter(option="--network", column="network_id", help="Of this external network.", resolve=_network),
        Filter(option="--port", column="port_id", help="On this port.", resolve=_port),
        Filter(option="--fixed-ip-address", column="fixed_ip", help="On this address."),
        Filter(option="--floating-ip-address", column="address", help="This address."),
        Filter(option="--status", column="status", help="ACTIVE, DOWN or ERROR."),
        Filter(option="--router", column="router_id", help="By this router.", resolve=_router),
    ),
)

app = group("Addresses of the outside.")
ip = group("Addresses of the outside that lead to servers.")
app.add_typer(ip, name="ip")
add_list(ip, FLOATING_IP, help="List floating IPs.")
add_show(ip, FLOATING_IP, help="Show a floating IP, and the hosts that have not confirmed it yet.")

FloatingName = Annotated[
    str, typer.Argument(metavar="FLOATING-IP", help="Address or id.", autocompletion=names_of("floating_ip"))
]
PortOption = Annotated[
    str | None,
    typer.Option("--port", metavar="PORT", help="The server's port it leads to.", autocompletion=names_of("port")),
]
FixedOption = Annotated[
    str | None,
    typer.Option("--fixed-ip-address", metavar="IP", help="The port's address it leads to, where it has several."),
]


@ip.command()
@shows(FLOATING_IP)
def create(
    network: Annotated[
        str, typer.Argument(metavar="NETWORK", help="An external one.", autocompletion=names_of("network"))
    ],
    port: PortOption = None,
    fixed_ip: FixedOption = None,
    address: Annotated[
        str | None, typer.Option("--floating-ip-address", metavar="IP", help="This one; else the next free.")
    ] = None,
    description: DescriptionOption = None,
) -> Row:
    """Take an address of an external network, and put it on a port if one is named."""
    from core.network import floating_ips

    with caller().write() as (session, ctx):
        made = floating_ips.create(
            session,
            ctx,
            network=network,
            address=address,
            port=port,
            fixed_ip=fixed_ip,
            description=description or "",
        )
        return _find(session, ctx, made.id)


@ip.command("set")
def set_(
    floating_ip: FloatingName,
    port: PortOption = None,
    fixed_ip: FixedOption = None,
    description: DescriptionOption = None,
) -> None:
    """Put a floating IP on a port, from whatever port it is on; or describe it."""
    from core.network import floating_ips

    if fixed_ip is not None and port is None:
        raise Invalid("a fixed IP needs the port that has it", hint="Name it with --port.")
    with caller().write() as (session, ctx):
        floating_ips.set(session, ctx, floating_ip, description=description)
        if port is not None:
            floating_ips.associate(session, ctx, floating_ip, port, fixed_ip=fixed_ip)


@ip.command()
def unset(
    floating_ip: FloatingName,
    port: Annotated[bool, typer.Option("--port", help="It leads nowhere, and stays the project's.")] = False,
) -> None:
    """Take a floating IP off its port."""
    from core.network import floating_ips

    if not port:
        raise Invalid("nothing was named", hint="skydeck floating ip unset --port ADDRESS")
    with caller().write() as (session, ctx):
        floating_ips.disassociate(session, ctx, floating_ip)


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.network import floating_ips

    floating_ips.delete(session, ctx, name)


add_delete(ip, FLOATING_IP, _delete, help="Give floating IPs back.")
