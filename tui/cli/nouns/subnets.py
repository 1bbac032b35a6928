"""`skydeck subnet`: a network's block of addresses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from core.errors import Invalid, NotFound
from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, name_of, names_of, shows
from tui.cli.noun import Filter, Noun, Row, column, hops, listed, long, moment
from tui.cli.options import DescriptionOption, parts, routes


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
        hops("Host Routes", "host_routes", long=True),
        long("IP Version", "ip_version"),
        long("Gateway", "gateway_ip"),
    ),
    fields=(
        column("allocation_pools", "allocation_pools", human=_pools, machine=_ranges),
        column("cidr", "cidr"),
        moment("created_at", "created_at"),
        column("description", "description"),
        column("dns_nameservers", "dns_nameservers"),
        column("enable_dhcp", "enable_dhcp"),
        column("gateway_ip", "gateway_ip"),
        hops("host_routes", "host_routes"),
        column("id", "id"),
        column("ip_version", "ip_version"),
        column("ipv6_address_mode", "ipv6_mode"),
        column("ipv6_ra_mode", "ipv6_mode"),
        column("name", "name"),
        column("network_id", "network_id"),
        column("project_id", "project_id"),
    ),
    find=_find,
    filters=(
        Filter(option="--network", column="network_id", help="Of this network.", resolve=_network),
        Filter(option="--subnet-range", column="cidr", help="Of this block."),
        Filter(option="--ip-version", column="ip_version", help="4 or 6."),
        Filter(option="--gateway", column="gateway_ip", help="With this gateway."),
        Filter(option="--dhcp/--no-dhcp", column="enable_dhcp", help="With DHCP, or without.", flag=True),
    ),
)

app = group("Blocks of addresses.")
add_list(app, SUBNET, help="List subnets.")
add_show(app, SUBNET, help="Show a subnet.")

DnsOption = Annotated[list[str] | None, typer.Option("--dns-nameserver", metavar="IP", help="May be repeated.")]
PoolOption = Annotated[
    list[str] | None,
    typer.Option("--allocation-pool", metavar="start=IP,end=IP", help="What servers get; may be repeated."),
]
RouteOption = Annotated[
    list[str] | None,
    typer.Option("--host-route", metavar="destination=CIDR,gateway=IP", help="Told to servers; may be repeated."),
]


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
    ip_version: Annotated[
        int | None, typer.Option("--ip-version", metavar="4|6", help="What the block must be of.")
    ] = None,
    ipv6_ra_mode: Annotated[
        str | None, typer.Option("--ipv6-ra-mode", metavar="MODE", help="slaac or dhcpv6-stateless: it is advertised.")
    ] = None,
    ipv6_address_mode: Annotated[
        str | None, typer.Option("--ipv6-address-mode", metavar="MODE", help="As --ipv6-ra-mode: they go together.")
    ] = None,
    dns_nameserver: DnsOption = None,
    allocation_pool: PoolOption = None,
    host_route: RouteOption = None,
    description: DescriptionOption = None,
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
            pools=_starts_and_ends(allocation_pool),
            host_routes=routes(host_route, "host-route"),
            ipv6_mode=_mode(ipv6_ra_mode, ipv6_address_mode),
            description=description or "",
        )
        if ip_version not in (None, made.ip_version):
            raise Invalid(f"{subnet_range} is no IPv{ip_version} block")
        return _find(session, ctx, made.id)


def _mode(advertised: str | None, addressed: str | None) -> str | None:
    if advertised and addressed and advertised != addressed:
        raise Invalid(f"IPv6 modes {advertised} and {addressed} do not go together", hint="Give both the same.")
    return advertised or addressed


def _starts_and_ends(pools: Iterable[str] | None) -> tuple[tuple[str, str], ...]:
    example = "start=10.1.0.10,end=10.1.0.99"
    found = (parts(text, "allocation-pool", needs=("start", "end"), example=example) for text in pools or ())
    return tuple((ends["start"], ends["end"]) for ends in found)


@app.command("set")
def set_(
    subnet: Annotated[str, name_of(SUBNET)],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Rename it.")] = None,
    gateway: Annotated[str | None, typer.Option("--gateway", metavar="IP", help="An address, or `none`.")] = None,
    dhcp: Annotated[
        bool | None, typer.Option("--dhcp/--no-dhcp", help="Whether servers are told their address.")
    ] = None,
    dns_nameserver: DnsOption = None,
    no_dns_nameservers: Annotated[bool, typer.Option("--no-dns-nameservers", help="Those there were go.")] = False,
    allocation_pool: PoolOption = None,
    no_allocation_pool: Annotated[bool, typer.Option("--no-allocation-pool", help="Those there were go.")] = False,
    host_route: RouteOption = None,
    no_host_route: Annotated[bool, typer.Option("--no-host-route", help="Those there were go.")] = False,
    description: DescriptionOption = None,
) -> None:
    """Change a subnet. Name servers, pools and routes are added to those it has; with --no-…, in their place."""
    from core.network import subnets

    with caller().write() as (session, ctx):
        had = _find(session, ctx, subnet)
        hosts = [(route["destination"], route["nexthop"]) for route in had["host_routes"]]
        pools = [(first, last) for first, last in had["allocation_pools"]]
        subnets.set(
            session,
            ctx,
            had["id"],
            name=name,
            description=description,
            gateway=None if gateway == "none" else gateway,
            no_gateway=gateway == "none",
            dhcp=dhcp,
            dns=_with(had["dns_nameservers"], tuple(dns_nameserver or ()), anew=no_dns_nameservers),
            pools=_with(pools, _starts_and_ends(allocation_pool), anew=no_allocation_pool),
            host_routes=_with(hosts, routes(host_route, "host-route"), anew=no_host_route),
        )


def _with(had: list[Any], more: tuple[Any, ...], *, anew: bool) -> tuple[Any, ...] | None:
    """What there shall be; None when nothing was said."""
    if not more and not anew:
        return None
    return tuple(dict.fromkeys([*([] if anew else had), *more]))


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.network import subnets

    subnets.delete(session, ctx, name)


add_delete(app, SUBNET, _delete, help="Delete subnets no server has an address of.")
