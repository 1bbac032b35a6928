"""`skydeck trace`: the way of a packet, hop by hop, and the hop that drops it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from tui.cli import output, report
from tui.cli.caller import caller
from tui.cli.commands import leave, single
from tui.cli.noun import column, number
from tui.cli.options import Format, extended, output_options

COLUMNS = (
    column("Host", "host"),
    column("Hop", "kind"),
    column("Name", "name"),
    column("Verdict", "verdict"),
    column("Configured", "configured"),
    column("Seen", "seen"),
    number("Packets", "packets"),
    number("Bytes", "bytes"),
    column("Hint", "hint"),
)

STOPPED = 1
"""Exit status when a hop does not let it through."""

app = single()


def _trace(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A server or port, by name or id.")],
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="An address, a server or a port.")],
    protocol: Annotated[str, typer.Option("--protocol", metavar="PROTOCOL", help="icmp, tcp, udp, sctp.")] = "icmp",
    dst_port: Annotated[
        int | None, typer.Option("--dst-port", metavar="PORT", min=0, max=65535, help="Where to, for tcp and udp.")
    ] = None,
) -> None:
    """Follow a packet from a server to an address: every hop on every host, and the one that stops it.

    Exits with 1 when one does."""


def _traced(
    source: str,
    destination: str,
    protocol: str,
    dst_port: int | None,
    *,
    format: Format,
    columns: list[str] | None,
) -> None:
    from core import door, serve
    from core.network import tracing

    at = caller()
    at.json_errors = format is Format.JSON
    with at.write(ticket=True) as (session, ctx):
        path = tracing.plan(session, ctx, source, destination, protocol=protocol, port=dst_port)
        ticket = door.trace_ticket(session, ctx, path)
    serve.ensure(at.config, wait=True)
    followed = tracing.follow(path, asyncio.run(door.trace(at.config, ticket)))
    shown = COLUMNS if format is not Format.TABLE or columns else COLUMNS[:7]
    rows = [
        {
            "host": step.host,
            "kind": step.hop.kind,
            "name": step.hop.name,
            "verdict": step.hop.verdict.value,
            "configured": step.hop.configured,
            "seen": step.hop.seen,
            "packets": step.hop.packets,
            "bytes": step.hop.bytes,
            "hint": step.hop.hint,
        }
        for step in followed.steps
    ]
    output.many(output.chosen(shown, columns), rows, format=format)
    if followed.stopped is not None:
        hop = followed.stopped.hop
        report.notice(f"it stops on {followed.stopped.host} at the {hop.kind} {hop.name}")
        if hop.hint:
            report.notice(hop.hint)
        leave(STOPPED)


app.command()(extended(_traced, _trace, output_options()))
