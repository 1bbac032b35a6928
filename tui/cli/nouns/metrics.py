"""`skydeck server metrics` and `skydeck host metrics`: what one used, as a table over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui import text
from tui.cli import output, report
from tui.cli.caller import caller
from tui.cli.commands import name_of
from tui.cli.noun import Column, Noun, Row, column, moment, number
from tui.cli.options import Format, extended, output_options

if TYPE_CHECKING:
    from core.metrics import Series

POINTS = 60
"""Lines of a table: a longer span has longer steps."""


class Span(StrEnum):
    """How far back."""

    MINUTES = "10m"
    HOUR = "1h"
    DAY = "24h"


SECONDS = {Span.MINUTES: 600, Span.HOUR: 3600, Span.DAY: 24 * 3600}


def _percent(header: str, source: str) -> Column:
    return number(header, source, human=lambda value: f"{value:.1f}", machine=lambda value: round(value, 2))


def _bytes(header: str, source: str) -> Column:
    return number(header, source, human=lambda value: text.size(round(value)), machine=round)


def _rate(header: str, source: str) -> Column:
    return number(header, source, human=lambda value: f"{text.size(round(value))}/s", machine=round)


COMMON = (
    moment("Time", "at"),
    _percent("CPU %", "cpu"),
    _percent("Memory %", "memory"),
    _bytes("Memory Used", "memory_used"),
)
NETWORK = (_rate("Network In", "net_rx"), _rate("Network Out", "net_tx"))
SERVER_COLUMNS = (
    *COMMON,
    column("Seen By", lambda row: "guest" if row["memory_guest"] else "host", long=True),
    _rate("Disk Read", "disk_read"),
    _rate("Disk Write", "disk_write"),
    *NETWORK,
)
HOST_COLUMNS = (*COMMON, _bytes("Disk Used", "disk_used"), _bytes("Disk", "disk_total"), *NETWORK)


def command(noun: Noun, columns: Sequence[Column]) -> Callable[..., None]:
    """The command of a noun. It reads what was collected, so it needs no engine."""

    def own(
        name: str,
        span: Annotated[Span, typer.Option("--span", help="How far back.")] = Span.MINUTES,
    ) -> None:
        """Show what it used, over time."""

    def run(*, name: str, span: Span, format: Format, columns: list[str] | None) -> None:
        from core import metrics

        at = caller()
        at.json_errors = format is Format.JSON
        with at.read() as (session, ctx):
            id = noun.find(session, ctx, name)["id"]
        found = metrics.series(at.config, id, span_s=SECONDS[span], points=POINTS)
        if not found.at:
            report.notice(f"{noun.word} {name}: nothing is known of the last {span.value}")
            report.notice("It is collected while the engine runs and its host is up: skydeck serve keeps it running.")
        elif not found.memory_guest:
            report.notice("Memory is what the host keeps for it: the guest does not say what it uses.")
        output.many(output.chosen(shown, columns), _rows(found), format=format)

    shown = columns
    own.__annotations__["name"] = Annotated[str, name_of(noun)]
    return extended(run, own, output_options())


def _rows(series: Series) -> list[Row]:
    names = ("at", "cpu", "memory", "memory_used", "disk_read", "disk_write", "net_rx", "net_tx", "disk_used")
    values: list[Sequence[Any]] = [getattr(series, name) for name in (*names, "disk_total")]
    return [
        dict(zip((*names, "disk_total"), row, strict=True)) | {"memory_guest": series.memory_guest}
        for row in zip(*values, strict=True)
    ]
