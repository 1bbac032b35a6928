"""`skydeck port`: where servers and routers are plugged into networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from core.errors import Invalid, NotFound
from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, name_of, names_of, shows
from tui.cli.noun import Filter, Noun, Row, column, entries, listed, long, moment, up
from tui.cli.options import DescriptionOption, parts

Asked = tuple[str | None, str | None]
"""A fixed IP as it is asked for: (subnet, address)."""
Pair = tuple[str, str | None]
"""An allowed address: (address or block, MAC)."""


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.network import fabric, ports

    found = ports.find(session, ctx, name)
    return listed(session, ctx, "port", found.id) | {"pending_on": fabric.pending_on(session, found.id)}


def _network(session: Any, ctx: Any, name: str) -> str:
    from core.network import networks

    return networks.find(session, ctx, name).id


def _server(session: Any, ctx: Any, name: str) -> str:
    from core.compute.instances import verbs

    return verbs.find(session, ctx, name).id


def _router(session: Any, ctx: Any, name: str) -> str:
    from core.network import routers

    return routers.find(session, ctx, name).id


PORT = Noun(
    kind="port",
    word="port",
    columns=(
        column("ID", "id"),
        column("Name", "name"),
        column("MAC Address", "mac"),
        entries("Fixed IP Addresses", "fixed_ips"),
        column("Status", "status"),
        long("Security Groups", "security_group_ids"),
        long("Device Owner", "device_owner"),
        long("Device ID", "device_id"),
        long("Device Name", "device"),
        long("Network", "network_id"),
        long("Project", "project_id"),
        long("Host", "host"),
    ),
    fields=(
        up("admin_state_up", "admin_state_up"),
        entries("allowed_address_pairs", "allowed_address_pairs"),
        column("binding_host_id", "host"),
        moment("created_at", "created_at"),
        column("description", "description"),
        column("device_id", "device_id"),
        column("device_name", "device"),
        column("device_owner", "device_owner"),
        column("dns_name", "dns_name"),
        column("egress_limit", "egress_kbit"),
        entries("fixed_ips", "fixed_ips"),
        column("id", "id"),
        column("ingress_limit", "ingress_kbit"),
        column("mac_address", "mac"),
        column("name", "name"),
        column("network_id", "network_id"),
        column("pending_on", "pending_on"),
        column("port_security_enabled", "port_security_enabled"),
        column("project_id", "project_id"),
        column("security_group_ids", "security_group_ids"),
        column("security_groups", "security_groups"),
        column("status", "status"),
    ),
    find=_find,
    filters=(
        Filter(option="--network", column="network_id", help="On this network.", resolve=_network),
        Filter(option="--server", column="device_id", help="Of this server.", resolve=_server),
        Filter(option="--router", column="device_id", help="Of this router.", resolve=_router),
        Filter(option="--device-owner", column="device_owner", help="For example network:dhcp."),
        Filter(option="--mac-address", column="mac", help="With this MAC address."),
        Filter(option="--status", column="status", help="ACTIVE or DOWN."),
        Filter(option="--host", column="host", help="On the host of this name."),
    ),
)

app = group("Where servers and routers are plugged into networks.")
add_list(app, PORT, help="List ports.")
add_show(app, PORT, help="Show a port, and the hosts that have not confirmed it yet.")

PortName = Annotated[str, name_of(PORT)]
FixedOption = Annotated[
    list[str] | None,
    typer.Option("--fixed-ip", metavar="subnet=SUBNET,ip-address=IP", help="Either or both; may be repeated."),
]
GroupOption = Annotated[
    list[str] | None,
    typer.Option(
        "--security-group", metavar="GROUP", autocompletion=names_of("security_group"), help="May be repeated."
    ),
]
AllowedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-address", metavar="ip-address=CIDR[,mac-address=MAC]", help="It may also send from; may be repeated."
    ),
]
MacOption = Annotated[str | None, typer.Option("--mac-address", metavar="MAC", help="Else one is made.")]
EnableOption = Annotated[bool | None, typer.Option("--enable/--disable", help="A disabled port passes nothing.")]
SecurityOption = Annotated[
    bool | None,
    typer.Option(
        "--enable-port-security/--disable-port-security", help="Anti-spoofing and security groups; else its network's."
    ),
]
IngressOption = Annotated[
    int | None, typer.Option("--ingress-limit", metavar="KBIT", help="Towards the server, kbit/s; 0: none.")
]
EgressOption = Annotated[
    int | None, typer.Option("--egress-limit", metavar="KBIT", help="From the server, kbit/s; 0: none.")
]
DnsNameOption = Annotated[str | None, typer.Option("--dns-name", metavar="NAME", help="What DNS calls it.")]


@app.command()
@shows(PORT)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    network: Annotated[
        str, typer.Option("--network", metavar="NETWORK", help="Where it is.", autocompletion=names_of("network"))
    ],
    fixed_ip: FixedOption = None,
    no_fixed_ip: Annotated[bool, typer.Option("--no-fixed-ip", help="Without any address.")] = False,
    mac_address: MacOption = None,
    security_group: GroupOption = None,
    no_security_group: Annotated[
        bool, typer.Option("--no-security-group", help="In no group: nothing passes.")
    ] = False,
    allowed_address: AllowedOption = None,
    enable: EnableOption = None,
    port_security: SecurityOption = None,
    ingress_limit: IngressOption = None,
    egress_limit: EgressOption = None,
    dns_name: DnsNameOption = None,
    description: DescriptionOption = None,
) -> Row:
    """Create a port, to give to a server or a router later."""
    from core.network import ports

    _one_of("--fixed-ip", fixed_ip, "--no-fixed-ip", no_fixed_ip)
    _one_of("--security-group", security_group, "--no-security-group", no_security_group)
    with caller().write() as (session, ctx):
        made = ports.add(
            session,
            ctx,
            network=network,
            name=name,
            fixed_ips=_fixed(fixed_ip),
            no_fixed_ip=no_fixed_ip,
            mac=mac_address,
            security_groups=() if no_security_group else security_group,
            allowed_address_pairs=_pairs(allowed_address),
            port_security=port_security,
            admin_state_up=enable is not False,
            ingress_kbit=ingress_limit,
            egress_kbit=egress_limit,
            dns_name=dns_name or "",
            description=description or "",
        )
        return _find(session, ctx, made.id)


@app.command("set")
def set_(
    port: PortName,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Rename it.")] = None,
    fixed_ip: FixedOption = None,
    no_fixed_ip: Annotated[bool, typer.Option("--no-fixed-ip", help="The addresses it has go.")] = False,
    mac_address: MacOption = None,
    security_group: GroupOption = None,
    no_security_group: Annotated[bool, typer.Option("--no-security-group", help="The groups it is in go.")] = False,
    allowed_address: AllowedOption = None,
    no_allowed_address: Annotated[bool, typer.Option("--no-allowed-address", help="Those there were go.")] = False,
    enable: EnableOption = None,
    port_security: SecurityOption = None,
    ingress_limit: IngressOption = None,
    egress_limit: EgressOption = None,
    dns_name: DnsNameOption = None,
    description: DescriptionOption = None,
) -> None:
    """Change a port. Addresses, groups and allowed addresses are added to those it has; with --no-…, in their place."""
    from core.network import ports

    with caller().write() as (session, ctx):
        row = _find(session, ctx, port)
        groups: list[str] = [] if no_security_group else row["security_group_ids"]
        pairs = [] if no_allowed_address else _allowed(row)
        fixed = [] if no_fixed_ip else _had(row)
        ports.set(
            session,
            ctx,
            row["id"],
            name=name,
            fixed_ips=[*fixed, *_fixed(fixed_ip)] if fixed_ip else None,
            no_fixed_ip=no_fixed_ip and not fixed_ip,
            mac=mac_address,
            security_groups=[*groups, *(security_group or ())] if security_group or no_security_group else None,
            allowed_address_pairs=_joined(pairs, _pairs(allowed_address))
            if allowed_address or no_allowed_address
            else None,
            port_security=port_security,
            admin_state_up=enable,
            ingress_kbit=ingress_limit,
            egress_kbit=egress_limit,
            dns_name=dns_name,
            description=description,
        )


@app.command()
def unset(
    port: PortName,
    fixed_ip: FixedOption = None,
    security_group: GroupOption = None,
    allowed_address: AllowedOption = None,
) -> None:
    """Take addresses, security groups or allowed addresses off a port."""
    from core.network import ports, security_groups

    with caller().write() as (session, ctx):
        row = _find(session, ctx, port)
        gone = [_index(row["fixed_ips"], asked, session=session, ctx=ctx) for asked in _fixed(fixed_ip)]
        left = [asked for index, asked in enumerate(_had(row)) if index not in gone]
        groups = [security_groups.find(session, ctx, name).id for name in security_group or ()]
        ports.set(
            session,
            ctx,
            row["id"],
            fixed_ips=left if gone and left else None,
            no_fixed_ip=bool(gone) and not left,
            security_groups=_without(row["security_group_ids"], groups, "security group") if groups else None,
            allowed_address_pairs=_without(_allowed(row), _pairs(allowed_address), "allowed address")
            if allowed_address
            else None,
        )


def _one_of(option: str, given: list[str] | None, other: str, no: bool) -> None:
    if given and no:
        raise Invalid(f"{option} and {other} exclude each other", hint="Leave one of them out.")


def _fixed(values: Iterable[str] | None) -> list[Asked]:
    keys = ("subnet", "ip-address")
    found = [parts(text, "fixed-ip", takes=keys, example="subnet=web,ip-address=10.1.0.7") for text in values or ()]
    return [(each.get("subnet"), each.get("ip-address")) for each in found]


def _pairs(values: Iterable[str] | None) -> list[Pair]:
    example = "ip-address=10.1.0.0/28"
    found = [
        parts(text, "allowed-address", needs=("ip-address",), takes=("mac-address",), example=example)
        for text in values or ()
    ]
    return [(each["ip-address"], each.get("mac-address")) for each in found]


def _had(row: Row) -> list[Asked]:
    return [(each["subnet_id"], each["ip_address"]) for each in row["fixed_ips"]]


def _allowed(row: Row) -> list[Pair]:
    return [(each["ip_address"], each.get("mac_address")) for each in row["allowed_address_pairs"]]


def _joined(had: Sequence[Pair], more: Sequence[Pair]) -> list[Pair]:
    return list(dict.fromkeys([*had, *more]))


def _index(had: list[dict[str, str]], asked: Asked, *, session: Any, ctx: Any) -> int:
    """Which of a port's addresses is meant."""
    from core.network import subnets

    name, ip = asked
    subnet = None if name is None else subnets.find(session, ctx, name).id
    for index, each in enumerate(had):
        if subnet in (None, each["subnet_id"]) and ip in (None, each["ip_address"]):
            return index
    raise NotFound(f"the port has no address {ip or name}", hint="skydeck port show tells which it has.")


def _without(had: Sequence[Any], gone: Sequence[Any], what: str) -> list[Any]:
    for each in gone:
        if each not in had:
            raise NotFound(
                f"the port has no {what} {each if isinstance(each, str) else each[0]}",
                hint="skydeck port show tells which it has.",
            )
    return [each for each in had if each not in gone]


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.network import ports

    ports.delete(session, ctx, name)


add_delete(app, PORT, _delete, help="Delete ports that no server or router uses.")
