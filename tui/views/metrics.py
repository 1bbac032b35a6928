"""What was measured of one object: the few lines of an overview, and the page of plots. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tui.charts import Curve, Sample, ceiling, newest, plot, sparkline
from tui.text import duration
from tui.view import Cell, Lines
from tui.views.cells import compact
from tui.widgets.lines import beside, fit

if TYPE_CHECKING:
    from core.metrics import Latest, Series

_SECOND = 1_000_000

PAIR = 66
"""Cells from which on two plots stand side by side."""

LEAST = 6
"""Lines of a plot, its title and its time axis included, below which a page rather scrolls."""


@dataclasses.dataclass(frozen=True)
class Span:
    """How far back a page looks."""

    seconds: int
    words: str
    live: bool = False
    """Asked of the host, second by second; others are of the ring that is kept in steps of ten seconds."""

    @property
    def step(self) -> int:
        """Seconds between two samples."""
        return 1 if self.live else 10


SPANS = (Span(600, "10 min", live=True), Span(3600, "1 h"), Span(86400, "24 h"))


def rate(value: float) -> str:
    """Bytes a second in at most seven characters: `310K/s`."""
    return f"{compact(round(value))}/s"


def _bytes(value: float) -> str:
    return compact(round(value))


def percent(value: float) -> str:
    return f"{value:.0f}%"


def spread(series: Series, values: Sequence[float], *, span_s: int, now: int) -> list[Sample]:
    """The values at equal distances over the span that ends now; None where nothing was measured."""
    step = max(1.0, series.step)
    count = max(1, round(span_s / step))
    placed: list[Sample] = [None] * count
    for at, value in zip(series.at, values, strict=True):
        place = count - 1 - round((now - at) / _SECOND / step)
        if 0 <= place < count:
            placed[place] = value
        elif place == count:
            placed[-1] = value  # the host's clock is a little ahead
    return placed


# ---------------------------------------------------------------------------- the overview's lines


def brief(series: Series | None, width: int, glyphs: str, *, now: int, host: bool = False) -> Lines:
    """cpu, ram, net and disk, a line each with its recent course; a word instead when nothing is measured."""
    if series is None:
        return [[("…", "dim")]]
    if not series.at:
        why = "it is not connected" if host else "it does not run,"
        more: Lines = [] if host else [[("or its host is not connected", "dim")]]
        return [[(f"nothing is measured: {why}", "dim")], *more]
    spark = max(0, min(60, width - 6 - 12 - 10))

    def course(values: Sequence[float], top: float | None = 100.0) -> str:
        return sparkline(newest(spread(series, values, span_s=600, now=now), spark * 2), spark, top, glyphs)

    stale = now - series.at[-1] > 60 * _SECOND
    both = [read + write for read, write in zip(series.disk_read, series.disk_write, strict=True)]
    traffic = [rx + tx for rx, tx in zip(series.net_rx, series.net_tx, strict=True)]
    rows: list[tuple[str, str, str, str]] = [
        ("cpu", percent(series.cpu[-1]), course(series.cpu), f"max {percent(max(series.cpu))}"),
        ("ram", _of(series.memory_used[-1], series.memory_max[-1]), course(series.memory), percent(series.memory[-1])),
        ("net", f"rx {rate(series.net_rx[-1])}", course(traffic, None), f"tx {rate(series.net_tx[-1])}"),
    ]
    if host:
        used, total = series.disk_used[-1], series.disk_total[-1]
        share = [
            100 * part / whole if whole else 0.0
            for part, whole in zip(series.disk_used, series.disk_total, strict=True)
        ]
        rows.append(("disk", _of(used, total), course(share), percent(share[-1])))
    else:
        rows.append(
            ("disk", f"wr {rate(series.disk_write[-1])}", course(both, None), f"rd {rate(series.disk_read[-1])}")
        )
    return [
        [(f"{name:<5} ", "dim"), (f"{first:<11} ", ""), (drawn, "dim" if stale else "busy"), (f" {last}", "")]
        for name, first, drawn, last in rows
    ]


def _of(part: float, whole: float) -> str:
    return f"{compact(round(part))}/{compact(round(whole))}"


TOP = 10
"""Guests of a host that are told."""


def busiest(found: Sequence[tuple[str, Latest]] | None, width: int, glyphs: str) -> Lines:
    """`web-01  87% ⣀⣤⣶  mem 55%  disk 3M/s  net 310K/s`, a line a guest."""
    if found is None:
        return [[("…", "dim")]]
    if not found:
        return [[("nothing is measured here now", "dim")]]
    spark = max(0, min(16, width - 16 - 5 - 26))
    lines: Lines = [[(f"{'GUEST':<15} {'CPU':>4} {'':<{spark}} {'MEM':>4} {'DISK':>8} {'NET':>8}", "head")]]
    for name, latest in found[:TOP]:
        lines.append(
            [
                (fit(name, 15), ""),
                (f" {percent(latest.cpu_percent):>4} ", "warn" if latest.cpu_percent >= 80 else ""),
                (sparkline(latest.trend, spark, 100.0, glyphs), "busy"),
                (f" {percent(latest.memory_percent):>4}", ""),
                (f" {rate(latest.disk_rate):>8} {rate(latest.net_rate):>8}", ""),
            ]
        )
    if len(found) > TOP:
        lines.append([(f"  … {len(found) - TOP} more", "dim")])
    return lines


# ---------------------------------------------------------------------------- the page


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Chart:
    title: str
    curves: tuple[tuple[str, Sequence[float], str], ...]
    """(name, values, tone): one, or what comes in and what goes out."""
    show: Callable[[float], str]
    top: float | None = 100.0
    """None: what the highest value needs."""
    note: str = ""


def _charts(series: Series, *, host: bool) -> list[_Chart]:
    used, most = series.memory_used, series.memory_max
    memory = f"{_of(used[-1], most[-1])}" if used else ""
    if used and not series.memory_guest:
        memory += " resident"
    net = _Chart(
        title="net/s",
        curves=(("rx", series.net_rx, "busy"), ("tx", series.net_tx, "ok")),
        show=_bytes,
        top=None,
    )
    disk = _Chart(
        title="disk/s",
        curves=(("read", series.disk_read, "busy"), ("write", series.disk_write, "ok")),
        show=_bytes,
        top=None,
    )
    if host:
        share = tuple(
            100 * part / whole if whole else 0.0
            for part, whole in zip(series.disk_used, series.disk_total, strict=True)
        )
        room = _of(series.disk_used[-1], series.disk_total[-1]) if share else ""
        disk = _Chart(title="disk", curves=(("", share, "warn"),), show=percent, note=room)
    return [
        _Chart(title="cpu", curves=(("", series.cpu, "ok"),), show=percent),
        _Chart(title="memory", curves=(("", series.memory, "key"),), show=percent, note=memory),
        disk,
        net,
    ]


def page(
    series: Series | None, span: Span, width: int, height: int, glyphs: str, *, now: int, host: bool = False
) -> Lines:
    """Plots of cpu, memory, disk and network in `width` cells; in `height` lines where they can be read in as many."""
    if series is None:
        return [[("…", "dim")]]
    if not series.at:
        return [
            [(f"Nothing was measured in the last {span.words}.", "warn")],
            [("What runs on a connected host is measured while the engine runs: skydeck serve", "dim")],
        ]
    across = 2 if width >= PAIR else 1
    gap = 2 if across == 2 else 0
    each = (width - gap) // across
    found = _charts(series, host=host)
    down = -(-len(found) // across)
    lines_each = max(LEAST, (height - (down - 1)) // down)
    lines: Lines = []
    for first in range(0, len(found), across):
        if first:
            lines.append([("", "")])
        blocks = [
            _block(chart, series, span, each, lines_each, glyphs, now=now) for chart in found[first : first + across]
        ]
        lines += beside(blocks, [each] * len(blocks), gap=gap)
    return lines


def _block(chart: _Chart, series: Series, span: Span, width: int, height: int, glyphs: str, *, now: int) -> Lines:
    """A title with the figures, and the plot below it."""
    title: list[Cell] = [(chart.title, "key"), (f" {chart.note}" if chart.note else "", "dim")]
    curves, heads, highest = [], [], 0.0
    for name, values, tone in chart.curves:
        samples = spread(series, values, span_s=span.seconds, now=now)
        curves.append(Curve(values=samples, tone=tone))
        measured = [sample for sample in samples if sample is not None]
        if measured:
            highest = max(highest, *measured)
            figures = f" avg {chart.show(sum(measured) / len(measured))} max {chart.show(max(measured))}"
            heads.append([(f" {name}" if name else "", tone), (f" {chart.show(measured[-1])}", "head"), (figures, "")])
    first = [*title, *(cell for head in heads for cell in head)]
    titles = [first]
    if sum(len(text) for text, _ in first) > width and len(heads) > 1:
        # What comes in and what goes out find no room in one line.
        titles = [[*title, *heads[0]], *([(" " * len(chart.title), ""), *head] for head in heads[1:])]
    top = ceiling(highest, base=1024) if chart.top is None else chart.top
    body = plot(curves, width, height - len(titles), glyphs, top=top, show=chart.show, since=span.words)
    return [*titles, *body]


def controls(span: Span, series: Series | None, problem: str, *, now: int) -> list[Cell]:
    """The line above the plots: which span, the keys to another, and how old the newest sample is."""
    cells: list[Cell] = []
    for one in SPANS:
        cells += [(f" {one.words} ", "on" if one is span else "dim"), (" ", "")]
    cells += [("< longer  > shorter", "dim")]
    if problem:
        cells.append((f"   {problem}", "warn"))
    elif series is not None and series.at:
        age = max(0, now - series.at[-1])
        cells.append(
            (f"   {duration(age)} old" if age > 30 * _SECOND else "   live", "warn" if age > 60 * _SECOND else "ok")
        )
    return cells
