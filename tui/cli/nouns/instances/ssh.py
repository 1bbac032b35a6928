"""`skydeck server ssh`: the system's ssh, by the best way there is; `server tunnel`, which it may go through."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from core.errors import Forbidden, Unavailable
from tui.cli import report
from tui.cli.caller import caller
from tui.cli.nouns.instances.noun import ServerName


def ssh(
    server: ServerName,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help="Run this instead of a shell.")
    ] = None,
    login: Annotated[
        str | None, typer.Option("--login", "-l", metavar="USER", help="Default: the image's os_admin_user.")
    ] = None,
    port: Annotated[int, typer.Option("--port", "-p", metavar="N", min=1, max=65535)] = 22,
    identity: Annotated[str | None, typer.Option("--identity", "-i", metavar="FILE", help="Your private key.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="Of ssh_config; may be repeated.")
    ] = None,
    through_host: Annotated[
        bool, typer.Option("--through-host", help="Through the server's host, also when an address answers from here.")
    ] = False,
) -> None:
    """Log in to a server with ssh: by a floating or provider address that answers, else through its host."""
    from core.consoles import ways
    from tui.console import ssh as opening

    program = opening.installed()
    if program is None:
        raise Unavailable("there is no ssh on this machine", hint="Install openssh-client.")
    at = caller()
    if at.read_only:
        raise Forbidden("no ssh: this is read-only mode", hint="Take read_only out of config.toml.")
    with at.read() as (session, ctx):
        target = ways.find(session, ctx, server)
    options = [] if identity is None else ["-i", identity]
    for each in option or ():
        options += ["-o", each]
    wanted = opening.Login(user=login, port=port, options=options, command=command or (), through_host=through_host)
    way = opening.choose(target, wanted)
    if way.kind == "inside":
        report.notice(f"{way.address}, through its host")
    at.close()
    os.execv(program, opening.arguments(target, way, wanted, project_id=ctx.project_id))


def tunnel(
    server: ServerName,
    address: Annotated[str, typer.Option("--address", metavar="IP", help="One of its own; default: its first.")] = "",
    port: Annotated[int, typer.Option("--port", "-p", metavar="N", min=1, max=65535)] = 22,
) -> None:
    """Carry stdin and stdout to a port of a server, through its host: for ssh's ProxyCommand and its like."""
    from core import door, serve

    at = caller()
    with at.write() as (session, ctx):
        ticket = door.way_ticket(session, ctx, server, address=address, port=port)
    serve.ensure(at.config, wait=True)
    config = at.config
    at.close()

    async def carry() -> None:
        far = await door.tunnel(config, ticket)
        loop = asyncio.get_running_loop()

        async def there() -> None:
            # Blocking reads on a thread: stdin may be a pipe, a socket or a file.
            while data := await loop.run_in_executor(None, os.read, 0, 1 << 16):
                await far.write(data)
            far.end()

        forth = asyncio.create_task(there())
        forth.add_done_callback(lambda task: task.cancelled() or task.exception())
        while data := await far.read():
            await loop.run_in_executor(None, _out, data)
        # Not `return`: the other thread may sit in a read of stdin for as long as its owner likes.
        os._exit(0)

    asyncio.run(carry())


def _out(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]
