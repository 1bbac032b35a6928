"""`skydeck server add ...` and `server remove ...`: interfaces, addresses and security groups of a server."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tui.cli import report
from tui.cli.accepted import begin
from tui.cli.caller import caller
from tui.cli.commands import group, names_of
from tui.cli.nouns.instances.noun import ServerName
from tui.cli.options import WaitOption

add = group("Plug interfaces, addresses, security groups and volumes in to a server.")
remove = group("Pull them out again.")
add_fixed, add_floating, add_security = (group("To a server.") for _ in range(3))
remove_fixed, remove_floating, remove_security = (group("From a server.") for _ in range(3))
add.add_typer(add_fixed, name="fixed")
add.add_typer(add_floating, name="floating")
add.add_typer(add_security, name="security")
remove.add_typer(remove_fixed, name="fixed")
remove.add_typer(remove_floating, name="floating")
remove.add_typer(remove_security, name="security")

NetworkName = Annotated[str, typer.Argument(metavar="NETWORK", autocompletion=names_of("network"))]
PortName = Annotated[str, typer.Argument(metavar="PORT", autocompletion=names_of("port"))]
GroupName = Annotated[str, typer.Argument(metavar="GROUP", autocompletion=names_of("security_group"))]
Address = Annotated[str, typer.Argument(metavar="IP")]


def _attach(server: str, what: str, *, until_done: bool, **nic: Any) -> None:
    from core.compute.instances import interfaces
    from core.compute.instances.nics import Nic

    begin(
        lambda session, ctx: interfaces.attach(session, ctx, server, Nic(**nic)),
        f"server {server}: {what}",
        until_done=until_done,
    )


@add.command("network")
def add_network(server: ServerName, network: NetworkName, wait_: WaitOption = False) -> None:
    """Plug a server in to a network, with a new port."""
    _attach(server, f"network {network}", until_done=wait_, network=network)


@add.command("port")
def add_port(server: ServerName, port: PortName, wait_: WaitOption = False) -> None:
    """Plug a port of one's own in to a server."""
    _attach(server, f"port {port}", until_done=wait_, port=port)


@add_fixed.command("ip")
def add_fixed_ip(
    server: ServerName,
    network: NetworkName,
    fixed_ip_address: Annotated[
        str | None, typer.Option("--fixed-ip-address", metavar="IP", help="This one, instead of the next free one.")
    ] = None,
    wait_: WaitOption = False,
) -> None:
    """Plug a server in to a network, with an address of it."""
    _attach(server, f"an address of {network}", until_done=wait_, network=network, fixed_ip=fixed_ip_address)


@remove.command("network")
def remove_network(server: ServerName, network: NetworkName, wait_: WaitOption = False) -> None:
    """Pull every interface on a network out of a server."""
    from core.compute.instances import interfaces

    begin(
        lambda session, ctx: interfaces.detach_network(session, ctx, server, network),
        f"server {server}: network {network}: detach",
        until_done=wait_,
    )


def _detach(server: str, port: str, *, until_done: bool) -> None:
    from core.compute.instances import interfaces

    begin(
        lambda session, ctx: interfaces.detach(session, ctx, server, port),
        f"server {server}: {port}: detach",
        until_done=until_done,
    )


@remove.command("port")
def remove_port(server: ServerName, port: PortName, wait_: WaitOption = False) -> None:
    """Pull a port out of a server; one of one's own is kept."""
    _detach(server, port, until_done=wait_)


@remove_fixed.command("ip")
def remove_fixed_ip(server: ServerName, address: Address, wait_: WaitOption = False) -> None:
    """Pull the interface with this address out of a server."""
    _detach(server, address, until_done=wait_)


@add_security.command("group")
def add_security_group(server: ServerName, group: GroupName) -> None:
    """Put all ports of a server into a security group."""
    from core.compute.instances import interfaces

    with caller().write() as (session, ctx):
        interfaces.add_group(session, ctx, server, group)
    report.notice(f"server {server}: in security group {group}")


@remove_security.command("group")
def remove_security_group(server: ServerName, group: GroupName) -> None:
    """Take all ports of a server out of a security group."""
    from core.compute.instances import interfaces

    with caller().write() as (session, ctx):
        interfaces.remove_group(session, ctx, server, group)
    report.notice(f"server {server}: no longer in security group {group}")


@add_floating.command("ip")
def add_floating_ip(
    server: ServerName,
    address: Address,
    fixed_ip_address: Annotated[
        str | None, typer.Option("--fixed-ip-address", metavar="IP", help="Of the server, when it has several.")
    ] = None,
) -> None:
    """Put a floating IP on a server."""
    from core.compute.instances import interfaces

    with caller().write() as (session, ctx):
        interfaces.add_floating_ip(session, ctx, server, address, fixed_ip=fixed_ip_address)
    report.notice(f"server {server}: has {address}")


@remove_floating.command("ip")
def remove_floating_ip(server: ServerName, address: Address) -> None:
    """Take a floating IP off a server; it stays the project's."""
    from core.compute.instances import interfaces

    with caller().write() as (session, ctx):
        interfaces.remove_floating_ip(session, ctx, server, address)
    report.notice(f"server {server}: no longer has {address}")
