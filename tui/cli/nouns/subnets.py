"""`skydeck subnet`: a network's block of addresses."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.errors import Invalid, NotFound
from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, names_of, shows
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment
from tui.cli.options import pairs


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.network import subnets

    return listed(session, ctx, "subnet", subnets.find(session, ctx, name).id)


def _network(session: Any, ctx: Any, name: str) -> str:
    from core.network import networks

    return networks.find(session, ctx, name).id


def _pools(pools: list[list[str]]) -> str:
    return ", ".join(f"{first}-{last}" for first, last in pools)


def _ranges(pools: list[list[str]]) -> list[dict[str, str]]:
    return [{"start": first, "end": last} for first, last in pools]


SUBNET = Noun(
    kind="subnet",
    word="subnet",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("Network", "network_id"),
        column("Subnet", "cidr"),
        long("Network Name", "network"),
        long("Project", "project_id"),
        long("DHCP", "enable_dhcp"),
        long("Name Servers", "dns_nameservers"),
        long("Allocation Pools", "allocation_pools", human=_pools, machine=_ranges),
        long("Gateway", "gateway_ip"),
    ),
    fields=(
        column("allocation_pools", "allocation_pools", human=_pools, machine=_ranges),
        column("cidr", "cidr"),
        moment("created_at", "created_at"),
        column("dns_nameservers", "dns_nameservers"),
        column("enable_dhcp", "enable_dhcp"),
        column("gateway_ip", "gateway_ip"),
        column("id", "id"),
        column("name", "name"),
        column("network_id", "network_id"),
        column("project_id", "project_id"),
    ),
    find=_find,
    filters=(Filter(option="--network", column="network_id", help="Of this network.", resolve=_network),),
)

app = group("Blocks of addresses.")
add_list(app, SUBNET, help="List subnets.")
add_show(app, SUBNET, help="Show a subnet.")


@app.command()
@shows(SUBNET)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    network: Annotated[
        str, typer.Option("--network", metavar="NETWORK", help="Whose it is.", autocompletion=names_of("network"))
    ],
    subnet_range: Annotated[str, typer.Option("--subnet-range", metavar="CIDR", help="For example 10.1.0.0/24.")],
    gateway: Annotated[
        str, typer.Option("--gateway", metavar="IP", help="An address, `auto` (the first) or `none`.")
    ] = "auto",
    dhcp: Annotated[bool, typer.Option("--dhcp/--no-dhcp", help="Whether servers are told their address.")] = True,
    dns_nameserver: Annotated[
        list[str] | None, typer.Option("--dns-nameserver", metavar="IP", help="May be repeated.")
    ] = None,
    allocation_pool: Annotated[
        list[str] | None,
        typer.Option("--allocation-pool", metavar="start=IP,end=IP", help="What servers get; may be repeated."),
    ] = None,
) -> Row:
    """Create a subnet of a network."""
    from core.network import networks, subnets

    with caller().write() as (session, ctx):
        owner = networks.find(session, ctx, network)
        if owner.project_id != ctx.project_id and not ctx.is_admin:
            raise NotFound(f"no network {network!r} of yours", hint="A shared network is its owner's to divide.")
        made = subnets.create(
            session,
            ctx,
            name=name,
            network=owner.id,
            project_id=owner.project_id,
            cidr=subnet_range,
            gateway=None if gateway in ("auto", "none") else gateway,
            no_gateway=gateway == "none",
            dhcp=dhcp,
            dns=tuple(dns_nameserver or ()),
            pools=tuple(_pool(text) for text in allocation_pool or ()),
        )
        return _find(session, ctx, made.id)


def _pool(text: str) -> tuple[str, str]:
    ends = pairs(text.split(","), "allocation-pool")
    if set(ends) != {"start", "end"}:
        raise Invalid(f"{text!r} is no allocation pool", hint="For example start=10.1.0.10,end=10.1.0.99.")
    return ends["start"], ends["end"]


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.network import subnets

    subnets.delete(session, ctx, name)


add_delete(app, SUBNET, _delete, help="Delete subnets no server has an address of.")
