"""The dashboard's tiles of what the cloud runs on: hosts, the most loaded first, and the pools of storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tui.charts import Sample, bar, newest, sparkline
from tui.locator import Locator
from tui.verbs import Row
from tui.view import Cell
from tui.views.cells import compact
from tui.views.pulse.spots import Draw, Spot, Tile, meant, told, toned
from tui.widgets.lines import fit

if TYPE_CHECKING:
    from core.metrics import Latest
    from core.pulse import HostLoad

TREND = 32
"""Steps of a trend, as measured."""


def load(host: HostLoad, measured: Mapping[str, Latest]) -> float | None:
    """How busy it is, in percent of its CPUs: measured, else by its load average; None for one that is down."""
    if not host.up:
        return None
    latest = measured.get(host.id)
    if latest is not None:
        return latest.cpu_percent
    return min(100.0, 100.0 * host.load1 / host.vcpus) if host.vcpus else None


def hosts_tile(hosts: Sequence[HostLoad], measured: Mapping[str, Latest], glyphs: str) -> Tile:
    """What is wrong with hosts, all of them as one, then each, the busiest first."""
    down = sum(not host.up for host in hosts)
    off = sum(host.up and not host.enabled for host in hosts)
    spots = []
    for word, count, glyph, tone, filter in (
        ("down", down, "!", "bad", "state=down"),
        ("disabled", off, "=", "warn", "state=up enabled=false"),
    ):
        if count:
            spots.append(
                Spot(
                    key=f"hosts/{word}",
                    draw=told((f"{glyph} ", tone), (f"{count} ", "head"), (word, tone)),
                    locator=Locator(kind="host", filter=filter),
                )
            )

    def busiest(host: HostLoad) -> tuple[bool, float, str]:
        percent = load(host, measured)
        return percent is None, -(percent or 0.0), host.name

    if sum(host.up for host in hosts) > 1:
        spots.append(Spot(key="hosts/all", draw=_together(hosts, measured, glyphs), locator=Locator(kind="host")))
    for host in sorted(hosts, key=busiest):
        spots.append(
            Spot(
                key=f"hosts/{host.id}",
                draw=_host(host, measured, glyphs),
                locator=Locator(kind="host", filter=meant(host.name, host.id)),
            )
        )
    if not hosts:
        spots.append(
            Spot(
                key="hosts/none",
                draw=told(("none: ", "warn"), ("skydeck host add local", "")),
                locator=Locator(kind="host"),
            )
        )
    return Tile(name="hosts", title=f"Hosts {len(hosts)}", spots=tuple(spots), all=Locator(kind="host"))


def _together(hosts: Sequence[HostLoad], measured: Mapping[str, Latest], glyphs: str) -> Draw:
    """All that are up as one: means weighted by what each has."""
    up = [host for host in hosts if host.up]
    loads = [(host, percent) for host in up if (percent := load(host, measured)) is not None]
    trends = [newest(measured[host.id].trend, TREND) for host, _ in loads if host.id in measured]
    trend = [_mean([each[at] for each in trends]) for at in range(TREND)] if trends else []
    return _load_line(
        "all",
        "head",
        100 * _weighed([(percent / 100, host.vcpus) for host, percent in loads]) if loads else None,
        trend,
        ram=_weighed([(_ram(host, measured), host.ram_mb) for host in up]),
        disk=_weighed([(_disk(host, measured), host.disk_gb) for host in up]),
        glyphs=glyphs,
    )


def _mean(values: Sequence[Sample]) -> Sample:
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured) if measured else None


def _weighed(shares: Sequence[tuple[float, int]]) -> float:
    whole = sum(weight for _, weight in shares)
    return sum(share * weight for share, weight in shares) / whole if whole else 0.0


def _share(free: int, whole: int) -> float:
    return 1 - free / whole if whole else 0.0


def _host(host: HostLoad, measured: Mapping[str, Latest], glyphs: str) -> Draw:
    if not host.up:
        return lambda width: [(fit(host.name, min(16, width)), ""), (" ! down", "bad")]
    latest = measured.get(host.id)
    return _load_line(
        host.name,
        "" if host.enabled else "warn",
        load(host, measured),
        latest.trend if latest is not None else (),
        ram=_ram(host, measured),
        disk=_disk(host, measured),
        glyphs=glyphs,
    )


def _ram(host: HostLoad, measured: Mapping[str, Latest]) -> float:
    """The share in use: measured, else as it was last observed."""
    latest = measured.get(host.id)
    return latest.memory_percent / 100 if latest is not None else _share(host.ram_free_mb, host.ram_mb)


def _disk(host: HostLoad, measured: Mapping[str, Latest]) -> float:
    latest = measured.get(host.id)
    if latest is not None and latest.disk_percent is not None:
        return latest.disk_percent / 100
    return _share(host.disk_free_gb, host.disk_gb)


def _load_line(
    name: str, tone: str, percent: float | None, trend: Sequence[Sample], *, ram: float, disk: float, glyphs: str
) -> Draw:
    """`kvm01  12% ⣀⣤⣶ ram 55% disk 30%`; what finds no room is left out from the right, but for the name."""

    def draw(width: int) -> list[Cell]:
        tails: list[list[Cell]] = [
            [
                (" ram", "dim"),
                (f"{ram:>4.0%}", toned(ram / 0.95)),
                (" disk", "dim"),
                (f"{disk:>4.0%}", toned(disk / 0.95)),
            ],
            [(" ram", "dim"), (f"{ram:>4.0%}", toned(ram / 0.95))],
            [],
        ]
        tail = next((cells for cells in tails if width - sum(len(text) for text, _ in cells) >= 20), [])
        room = width - sum(len(text) for text, _ in tail) - 6
        spark = max(0, min(TREND // 2, room - 10))
        cells: list[Cell] = [(fit(name, max(4, room - spark)), tone)]
        cells.append((f"{percent:>4.0f}% ", toned(percent / 100)) if percent is not None else ("   -  ", "dim"))
        if spark:
            cells.append((sparkline(trend, spark, 100.0, glyphs), "busy"))
        return [*cells, *tail]

    return draw


def pools_tile(pools: Sequence[Row], glyphs: str) -> Tile:
    """How full each pool is. `pools`: rows of the backends' listing."""
    return Tile(
        name="pools",
        title=f"Storage pools {len(pools)}",
        spots=tuple(
            Spot(
                key=f"pools/{row['id']}",
                draw=_pool(row, glyphs),
                locator=Locator(kind="backend", filter=meant(row["name"], row["id"])),
            )
            for row in pools
        )
        or (Spot(key="pools/none", draw=told(("none", "dim")), locator=Locator(kind="backend")),),
        all=Locator(kind="backend"),
    )


def _pool(row: Row, glyphs: str) -> Draw:
    total, free = row["total_bytes"], row["free_bytes"]
    used = total - free
    share = used / total if total else 0.0

    def draw(width: int) -> list[Cell]:
        if not row["enabled"]:
            return [(fit(row["name"], 11), ""), (" o disabled", "warn")]
        if not row["reached"]:
            return [(fit(row["name"], 11), ""), (" ! no host reaches it", "bad")]
        tone = toned(share / 0.95)
        room = width - 11 - 12
        shown = bar(used, total, room, glyphs) if room >= 4 else ""
        return [(fit(row["name"], 11), ""), (f"{compact(used)}/{compact(total)}".rjust(11) + " ", tone),
                (shown, tone or "ok")]  # fmt: skip

    return draw
