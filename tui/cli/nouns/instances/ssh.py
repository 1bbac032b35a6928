"""`skydeck server ssh`: the system's ssh, to a server's address."""

from __future__ import annotations

import os
import shutil
from typing import Annotated

import typer

from core.errors import Conflict, Unavailable
from tui.cli.caller import caller
from tui.cli.nouns.instances.noun import SERVER, ServerName


def ssh(
    server: ServerName,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help="Run this instead of a shell.")
    ] = None,
    login: Annotated[str | None, typer.Option("--login", "-l", metavar="USER")] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", metavar="N")] = None,
    identity: Annotated[str | None, typer.Option("--identity", "-i", metavar="FILE", help="Your private key.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="Of ssh_config; may be repeated.")
    ] = None,
) -> None:
    """Log in to a server with ssh, at its first address."""
    at = caller()
    with at.read() as (session, ctx):
        row = SERVER.find(session, ctx, server)
    if not row["addresses"]:
        raise Conflict(f"{row['name']} has no address", hint="It is on no network: skydeck console attach reaches it.")
    program = shutil.which("ssh")
    if program is None:
        raise Unavailable("there is no ssh on this machine", hint="Install openssh-client.")
    arguments = ["ssh"]
    for flag, value in (("-l", login), ("-p", port), ("-i", identity)):
        if value is not None:
            arguments += [flag, str(value)]
    for each in option or ():
        arguments += ["-o", each]
    _, address = row["addresses"][0]
    at.close()
    os.execv(program, [*arguments, "--", address, *(command or ())])
