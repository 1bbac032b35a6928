"""`skydeck security group rule`: what a group allows its members."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.errors import Invalid
from tui.cli.caller import caller
from tui.cli.commands import add_delete, add_list, add_show, group, names_of, shows
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment
from tui.cli.options import DescriptionOption

_ICMP = ("icmp", "icmpv6", "ipv6-icmp")


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.network import security_groups

    return listed(session, ctx, "security_group_rule", security_groups.find_rule(session, ctx, name).id)


def _group(session: Any, ctx: Any, name: str) -> str:
    from core.network import security_groups

    return security_groups.find(session, ctx, name).id


def _ports(row: Row) -> str:
    """As openstack's client writes them: `80:80`, `type=8:code=0`."""
    first, last = row["port_range_min"], row["port_range_max"]
    if row["protocol"] in _ICMP:
        parts = [] if first is None else [f"type={first}"]
        return ":".join(parts if last is None else [*parts, f"code={last}"])
    return "" if first is None else f"{first}:{last}"


def _addresses(row: Row) -> str:
    """What is not narrowed down is everything."""
    everything = "0.0.0.0/0" if row["ethertype"] == "IPv4" else "::/0"
    return row["remote_ip_prefix"] or everything


RULE = Noun(
    kind="security_group_rule",
    word="security group rule",
    columns=(
        column("ID", "id"),
        column("IP Protocol", "protocol"),
        column("Ethertype", "ethertype"),
        column("IP Range", _addresses),
        column("Port Range", _ports),
        column("Direction", "direction"),
        column("Remote Security Group", "remote_group_id"),
        column("Security Group", "security_group_id"),
        long("Security Group Name", "security_group"),
        long("Description", "description"),
        long("Project", "project_id"),
    ),
    fields=(
        moment("created_at", "created_at"),
        column("description", "description"),
        column("direction", "direction"),
        column("ether_type", "ethertype"),
        column("id", "id"),
        column("port_range_max", "port_range_max"),
        column("port_range_min", "port_range_min"),
        column("project_id", "project_id"),
        column("protocol", "protocol"),
        column("remote_group_id", "remote_group_id"),
        column("remote_ip_prefix", "remote_ip_prefix"),
        column("security_group_id", "security_group_id"),
    ),
    find=_find,
    filters=(
        Filter(option="GROUP", column="security_group_id", help="Of this group.", resolve=_group, positional=True),
        Filter(option="--protocol", column="protocol", help="For example tcp."),
        Filter(
            option="--ingress/--egress",
            column="direction",
            help="What comes in, or goes out.",
            flag=True,
            resolve=lambda session, ctx, given: "ingress" if given == "true" else "egress",
        ),
        Filter(option="--ethertype", column="ethertype", help="IPv4 or IPv6."),
    ),
)

app = group("What the members of a security group are allowed.")
add_list(app, RULE, help="List rules, of all groups or of one.")
add_show(app, RULE, help="Show a rule, by its id.")


@app.command()
@shows(RULE)
def create(
    security_group: Annotated[
        str, typer.Argument(metavar="GROUP", help="Name or id.", autocompletion=names_of("security_group"))
    ],
    ingress: Annotated[bool, typer.Option("--ingress/--egress", help="What comes in (as usual), or goes out.")] = True,
    ethertype: Annotated[
        str | None, typer.Option("--ethertype", metavar="TYPE", help="IPv4 (as usual) or IPv6.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", metavar="PROTOCOL", help="tcp, udp, icmp, …, a number; else any.")
    ] = None,
    dst_port: Annotated[
        str | None, typer.Option("--dst-port", metavar="A[:B]", help="A port, or the first and the last.")
    ] = None,
    icmp_type: Annotated[int | None, typer.Option("--icmp-type", metavar="N")] = None,
    icmp_code: Annotated[int | None, typer.Option("--icmp-code", metavar="N")] = None,
    remote_ip: Annotated[
        str | None, typer.Option("--remote-ip", metavar="CIDR", help="The other side; else anybody.")
    ] = None,
    remote_group: Annotated[
        str | None,
        typer.Option(
            "--remote-group",
            metavar="GROUP",
            help="The other side: members of this group.",
            autocompletion=names_of("security_group"),
        ),
    ] = None,
    description: DescriptionOption = None,
) -> Row:
    """Allow the members of a security group something more."""
    from core.network import security_groups

    if dst_port is not None and (icmp_type, icmp_code) != (None, None):
        raise Invalid("a rule has ports or an ICMP type, not both", hint="--dst-port goes with tcp and udp.")
    first, last = (icmp_type, icmp_code) if dst_port is None else _range(dst_port)
    with caller().write() as (session, ctx):
        made = security_groups.add_rule(
            session,
            ctx,
            security_group,
            direction="ingress" if ingress else "egress",
            ethertype=ethertype or _ethertype(protocol, remote_ip),
            protocol=protocol,
            port_min=first,
            port_max=last,
            remote_ip=remote_ip,
            remote_group=remote_group,
            description=description or "",
        )
        return _find(session, ctx, made.id)


def _ethertype(protocol: str | None, remote_ip: str | None) -> str:
    """As openstack's client: what the protocol or the address says, else IPv4."""
    six = (protocol or "").lower().startswith(("ipv6", "icmpv6")) or ":" in (remote_ip or "")
    return "IPv6" if six else "IPv4"


def _range(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    if not first.isdecimal() or (colon and not last.isdecimal()):
        raise Invalid(f"{text!r} is no port, and no range of ports", hint="For example --dst-port 8000:8080")
    return int(first), int(last or first)


def _delete(session: Any, ctx: Any, name: str) -> None:
    from core.network import security_groups

    security_groups.delete_rule(session, ctx, name)


add_delete(app, RULE, _delete, help="Delete rules; connections that only they allowed end.")
