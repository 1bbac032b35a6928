"""`skydeck network`: layer-2 segments of projects, and the operator's ways out."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli import plans
from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, name_of, shows
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment, up
from tui.cli.nouns.rbac import app as rbac
from tui.cli.options import DescriptionOption, Format, FormatOption
from tui.cli.plans import DryRunOption, YesOption

_PROVIDER = ("network_type", "physical_network", "segmentation_id")


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.network import networks

    row = listed(session, ctx, "network", networks.find(session, ctx, name).id)
    _fill(session, ctx, [row])
    return row


def _fill(session: Any, ctx: Any, rows: list[Row]) -> None:
    """As in neutron, what a network is made of is for admins."""
    from core.identity.policy import allowed

    if not allowed(ctx, "network:provider"):
        for row in rows:
            row.update(dict.fromkeys(_PROVIDER))


NETWORK = Noun(
    kind="network",
    word="network",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("Subnets", "subnets"),
        long("Subnet Ranges", "cidrs"),
        long("Status", "status"),
        long("Project", "project"),
        up("State", "admin_state_up", long=True),
        long("Shared", "shared"),
        long("Network Type", "network_type"),
        long("Router Type", "external", human=lambda external: "External" if external else "Internal"),
        long("MTU", "mtu", right=True),
        long("Ports", "ports", right=True),
    ),
    fields=(
        up("admin_state_up", "admin_state_up"),
        moment("created_at", "created_at"),
        column("description", "description"),
        column("dns_domain", "dns_domain"),
        column("flood", "flood"),
        column("id", "id"),
        column("is_default", "is_default"),
        column("mtu", "mtu"),
        column("name", "name"),
        column("port_security_enabled", "port_security_enabled"),
        column("ports", "ports"),
        column("project_id", "project_id"),
        column("provider:network_type", "network_type"),
        column("provider:physical_network", "physical_network", machine=lambda name: name or None),
        column("provider:segmentation_id", "segmentation_id"),
        column("router:external", "external", human=lambda external: "External" if external else "Internal"),
        column("shared", "shared"),
        column("status", "status"),
        column("subnets", "subnets"),
    ),
    find=_find,
    filters=(
        Filter(option="--status", column="status", help="In this status."),
        Filter(option="--external/--internal", column="external", help="Ways out, or all others.", flag=True),
        Filter(option="--share/--no-share", column="shared", help="Everybody's, or all others.", flag=True),
        Filter(option="--enable/--disable", column="admin_state_up", help="Enabled ones, or disabled.", flag=True),
    ),
    fill=_fill,
)

app = group("Networks: a project's own, shared ones, and ways out.")
add_list(app, NETWORK, help="List networks.")
add_show(app, NETWORK, help="Show a network.")
app.add_typer(rbac, name="rbac")

NetworkName = Annotated[str, name_of(NETWORK)]
MtuOption = Annotated[int | None, typer.Option("--mtu", metavar="BYTES", help="Else the largest that fits.")]
DomainOption = Annotated[
    str | None, typer.Option("--dns-domain", metavar="DOMAIN", help="What follows its servers' names in DNS.")
]


ShareOption = Annotated[bool | None, typer.Option("--share/--no-share", help="Every project may use it (admin).")]
ExternalOption = Annotated[bool | None, typer.Option("--external/--internal", help="Routers go out by it (admin).")]
DefaultOption = Annotated[
    bool | None,
    typer.Option("--default/--no-default", help="The way out that projects get by themselves (admin)."),
]
EnableOption = Annotated[bool | None, typer.Option("--enable/--disable", help="A disabled one carries nothing.")]
SecurityOption = Annotated[
    bool | None,
    typer.Option(
        "--enable-port-security/--disable-port-security",
        help="Whether its new ports have anti-spoofing and security groups.",
    ),
]
FloodOption = Annotated[
    bool | None,
    typer.Option("--flood/--no-flood", help="ARP reaches every host: for addresses that move between servers."),
]


@app.command()
@shows(NETWORK)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    share: ShareOption = None,
    external: ExternalOption = None,
    default: DefaultOption = None,
    network_type: Annotated[
        str | None, typer.Option("--provider-network-type", metavar="TYPE", help="vxlan, vlan or flat (admin).")
    ] = None,
    physical_network: Annotated[
        str | None,
        typer.Option("--provider-physical-network", metavar="NAME", help="As hosts name it: host set --physnet."),
    ] = None,
    segment: Annotated[
        int | None, typer.Option("--provider-segment", metavar="ID", help="VNI or VLAN id; else the next free one.")
    ] = None,
    mtu: MtuOption = None,
    port_security: SecurityOption = None,
    dns_domain: DomainOption = None,
    enable: EnableOption = None,
    flood: FloodOption = None,
    description: DescriptionOption = None,
) -> Row:
    """Create a network. It needs a subnet before a server gets an address from it."""
    from core.network import networks

    with caller().write() as (session, ctx):
        made = networks.create(
            session,
            ctx,
            caller().config,
            name=name,
            mtu=mtu,
            description=description or "",
            shared=share or False,
            external=external or False,
            default=default or False,
            network_type=network_type,
            physical_network=physical_network,
            segmentation_id=segment,
            port_security=port_security is not False,
            dns_domain=dns_domain or "",
            flood=flood or False,
            admin_state_up=enable is not False,
        )
        return _find(session, ctx, made.id)


@app.command("set")
def set_(
    network: NetworkName,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Rename it.")] = None,
    share: ShareOption = None,
    external: ExternalOption = None,
    default: DefaultOption = None,
    mtu: MtuOption = None,
    port_security: SecurityOption = None,
    dns_domain: DomainOption = None,
    enable: EnableOption = None,
    flood: FloodOption = None,
    description: DescriptionOption = None,
) -> None:
    """Change a network."""
    from core.network import networks

    with caller().write() as (session, ctx):
        networks.set(
            session,
            ctx,
            network,
            name=name,
            description=description,
            shared=share,
            external=external,
            default=default,
            port_security=port_security,
            admin_state_up=enable,
            mtu=mtu,
            dns_domain=dns_domain,
            flood=flood,
            underlay_mtu=caller().config.underlay_mtu,
        )


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.network import networks

    networks.delete(session, ctx, name)


add_delete(app, NETWORK, _delete, help="Delete networks that nothing is on.")


@app.command()
@shows(NETWORK)
def auto(
    physical_network: Annotated[
        str, typer.Option("--physical-network", metavar="NAME", help="As hosts name it: host set --physnet.")
    ],
    cidr: Annotated[str, typer.Option("--cidr", metavar="CIDR", help="What is spoken there: 203.0.113.0/24.")],
    gateway: Annotated[
        str | None, typer.Option("--gateway", metavar="IP", help="Who leads on; else the first address.")
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", metavar="FIRST-LAST", help="Addresses that are the cloud's; else all.")
    ] = None,
    vlan: Annotated[int | None, typer.Option("--vlan", metavar="ID", help="It is this VLAN; else untagged.")] = None,
    name: Annotated[str, typer.Option("--name", metavar="NAME")] = "public",
) -> Row:
    """Make the cloud's way out (admin): from then on each project's first server finds a network and a router to it."""
    from core.network import auto as making

    with caller().write() as (session, ctx):
        made = making.auto(
            session,
            ctx,
            caller().config,
            physical_network=physical_network,
            cidr=cidr,
            gateway=gateway,
            pool=None if pool is None else _pool(pool),
            name=name,
            segmentation_id=vlan,
        )
        return _find(session, ctx, made.id)


def _pool(text: str) -> tuple[str, str]:
    first, dash, last = text.partition("-")
    if not (dash and first and last):
        raise Invalid(f"{text!r} is no pool", hint="For example --pool 203.0.113.100-203.0.113.199")
    return first.strip(), last.strip()


@app.command()
def purge(
    network: NetworkName, dry_run: DryRunOption = False, yes: YesOption = False, format: FormatOption = Format.TABLE
) -> None:
    """Delete a network that is in use, by a plan: what is on it is unplugged first."""
    plans.carry_out("network.delete", network, dry_run=dry_run, yes=yes, format=format)
