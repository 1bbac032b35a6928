"""The dashboard's tiles: what they tell and which list each of their numbers opens. Pure.

A number is a `Spot`: the cursor stands on it, and Enter opens exactly what it counted.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tui.charts import Sample, bar, newest, sparkline
from tui.locator import Locator
from tui.progress import pace
from tui.text import duration
from tui.verbs import Row
from tui.view import Cell
from tui.views.cells import OPERATION_STATES, compact
from tui.views.instances import STATUS
from tui.widgets.lines import fit

if TYPE_CHECKING:
    from core.metrics import Latest
    from core.pulse import HostLoad, Pulse

Draw = Callable[[int], list[Cell]]
"""Cells of at most so much width."""

NEAR, FULL = 0.8, 1.0
"""Shares of a limit from which on it is worth a look, and from which on nothing goes."""

TREND = 32
"""Steps of a trend, as measured."""

OLD_DRILL = 30 * 86_400_000_000
"""Microseconds after which a proven backup tells little."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spot:
    """One number, on a line of its own."""

    key: str
    """What the cursor stands on, whatever moves."""
    draw: Draw
    locator: Locator | None = None
    """What Enter opens; None: it is only told."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tile:
    name: str
    title: str
    spots: tuple[Spot, ...]
    all: Locator
    """The whole list, for what finds no room."""


def tiles(pulse: Pulse, measured: Mapping[str, Latest], *, project: str, now: int, glyphs: str) -> list[Tile]:
    """All tiles the caller may see. `measured`: host id to what was measured of it."""
    found = [_instances(pulse, glyphs), _quotas(pulse, project, glyphs)]
    if pulse.hosts is not None:
        found.append(_hosts(pulse.hosts, measured, glyphs))
    if pulse.pools is not None:
        found.append(_pools(pulse.pools, glyphs))
    return [*found, _operations(pulse, now), _attention(pulse, now)]


def _tone(share: float) -> str:
    return "bad" if share >= FULL else "warn" if share >= NEAR else ""


def _counted(glyph: str, word: str, tone: str, count: int, whole: int, glyphs: str) -> Draw:
    """`+ ACTIVE      40 ⣿⣿⣿⣀`."""

    def draw(width: int) -> list[Cell]:
        # As many places as the largest count of the tile has, so that bars begin below each other.
        places = max(4, len(str(whole)))
        room = width - 2 - 14 - places - 1
        shown = bar(count, whole, room, glyphs) if room >= 4 else ""
        return [(f"{glyph} {fit(word, 14)}", tone), (f"{count:>{places}} ", ""), (shown, tone or "dim")]

    return draw


_PLAIN = re.compile(r"[\w.-]+", re.ASCII)
"""A name that a filter can hold, which gives commas, stars and blanks a meaning of their own."""


def _meant(name: str, id: str) -> str:
    """The filter of one object: by its name, which people read, unless a filter cannot hold that."""
    return f"name={name}" if _PLAIN.fullmatch(name) else f"id={id}"


def _told(*cells: Cell) -> Draw:
    return lambda width: list(cells)


# ---------------------------------------------------------------------------- instances and quotas


def _instances(pulse: Pulse, glyphs: str) -> Tile:
    total = sum(pulse.instances.values())
    # What is wrong first, then what most are.
    words = sorted(pulse.instances, key=lambda word: (word != "ERROR", -pulse.instances[word], word))
    return Tile(
        name="instances",
        title=f"Instances {total}",
        spots=tuple(
            Spot(
                key=f"instances/{word}",
                draw=_counted(*_status(word), pulse.instances[word], total, glyphs),
                locator=Locator(kind="instance", filter=f"status={word}"),
            )
            for word in words
        )
        or (
            Spot(
                key="instances/none",
                draw=_told(("none yet: Enter, then n", "dim")),
                locator=Locator(kind="instance"),
            ),
        ),
        all=Locator(kind="instance"),
    )


def _status(word: str) -> tuple[str, str, str]:
    glyph, tone = STATUS.get(word, ("?", ""))
    return glyph, word, tone


_QUOTAS: dict[str, tuple[str, Locator]] = {
    # resource to (label, what takes most of it)
    "instances": ("instances", Locator(kind="instance")),
    "cores": ("vcpus", Locator(kind="instance", sort="-vcpus")),
    "ram": ("ram", Locator(kind="instance", sort="-ram_mb")),
    "volumes": ("volumes", Locator(kind="volume")),
    "gigabytes": ("gigabytes", Locator(kind="volume", sort="-size_gb")),
    "snapshots": ("snapshots", Locator(kind="snapshot")),
    "floating_ips": ("floating ips", Locator(kind="floating_ip")),
}


def _quotas(pulse: Pulse, project: str, glyphs: str) -> Tile:
    return Tile(
        name="quota",
        title=f"Quota of {project}",
        spots=tuple(
            Spot(
                key=f"quota/{usage.resource}",
                draw=_quota(_QUOTAS[usage.resource][0], usage.used or 0, usage.limit, glyphs),
                # A quota is a project's, whatever the lists span.
                locator=dataclasses.replace(_QUOTAS[usage.resource][1], project=project),
            )
            for usage in pulse.quotas
        ),
        all=Locator(kind="project"),
    )


def _quota(label: str, used: int, limit: int, glyphs: str) -> Draw:
    def draw(width: int) -> list[Cell]:
        scale: Callable[[int], str] = (lambda count: compact(count << 20)) if label == "ram" else str
        text = f"{scale(used)}/{scale(limit) if limit >= 0 else '-'}"
        tone = _tone(used / limit if limit > 0 else 1.0) if limit >= 0 and used else ""
        room = width - 13 - 11
        shown = bar(used, limit, room, glyphs) if room >= 4 and limit >= 0 else ""
        return [(fit(label, 13), "dim"), (f"{text:>10} ", tone), (shown, tone or "ok")]

    return draw


# ---------------------------------------------------------------------------- hosts and pools


def load(host: HostLoad, measured: Mapping[str, Latest]) -> float | None:
    """How busy it is, in percent of its CPUs: measured, else by its load average; None for one that is down."""
    if not host.up:
        return None
    latest = measured.get(host.id)
    if latest is not None:
        return latest.cpu_percent
    return min(100.0, 100.0 * host.load1 / host.vcpus) if host.vcpus else None


def _hosts(hosts: Sequence[HostLoad], measured: Mapping[str, Latest], glyphs: str) -> Tile:
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
                    draw=_told((f"{glyph} ", tone), (f"{count} ", "head"), (word, tone)),
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
                locator=Locator(kind="host", filter=_meant(host.name, host.id)),
            )
        )
    if not hosts:
        spots.append(
            Spot(
                key="hosts/none",
                draw=_told(("none: ", "warn"), ("skydeck host add local", "")),
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
                (f"{ram:>4.0%}", _tone(ram / 0.95)),
                (" disk", "dim"),
                (f"{disk:>4.0%}", _tone(disk / 0.95)),
            ],
            [(" ram", "dim"), (f"{ram:>4.0%}", _tone(ram / 0.95))],
            [],
        ]
        tail = next((cells for cells in tails if width - sum(len(text) for text, _ in cells) >= 20), [])
        room = width - sum(len(text) for text, _ in tail) - 6
        spark = max(0, min(TREND // 2, room - 10))
        cells: list[Cell] = [(fit(name, max(4, room - spark)), tone)]
        cells.append((f"{percent:>4.0f}% ", _tone(percent / 100)) if percent is not None else ("   -  ", "dim"))
        if spark:
            cells.append((sparkline(trend, spark, 100.0, glyphs), "busy"))
        return [*cells, *tail]

    return draw


def _pools(pools: Sequence[Row], glyphs: str) -> Tile:
    return Tile(
        name="pools",
        title=f"Storage pools {len(pools)}",
        spots=tuple(
            Spot(
                key=f"pools/{row['id']}",
                draw=_pool(row, glyphs),
                locator=Locator(kind="backend", filter=_meant(row["name"], row["id"])),
            )
            for row in pools
        )
        or (Spot(key="pools/none", draw=_told(("none", "dim")), locator=Locator(kind="backend")),),
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
        tone = _tone(share / 0.95)
        room = width - 11 - 12
        shown = bar(used, total, room, glyphs) if room >= 4 else ""
        return [(fit(row["name"], 11), ""), (f"{compact(used)}/{compact(total)}".rjust(11) + " ", tone),
                (shown, tone or "ok")]  # fmt: skip

    return draw


# ---------------------------------------------------------------------------- work, and what to look after

_STATES = (("running", "busy"), ("ready", ""), ("blocked", "bad"), ("failed", "bad"), ("cancelled", "off"))


def _operations(pulse: Pulse, now: int) -> Tile:
    spots = []
    for state, tone in _STATES:
        count = pulse.operations.get(state, 0)
        if count or state in ("running", "failed"):
            glyph = OPERATION_STATES[state][0]
            spots.append(
                Spot(
                    key=f"operations/{state}",
                    draw=_told((f"{glyph} {fit(state, 12)}", tone if count else "dim"), (f"{count:>6}", "")),
                    locator=Locator(kind="operation", filter=f"state={state}"),
                )
            )
    for row in (*pulse.running, *pulse.failed):
        spots.append(
            Spot(
                key=f"operations/{row['id']}",
                draw=_told(*_operation(row, now)),
                locator=Locator(kind="operation", filter=f"id={row['id']}"),
            )
        )
    return Tile(name="operations", title="Operations", spots=tuple(spots), all=Locator(kind="operation"))


def _operation(row: Row, now: int) -> list[Cell]:
    glyph, tone = OPERATION_STATES[row["state"]]
    since = duration(now - (row["ended_at"] or row["created_at"]))
    cells: list[Cell] = [(f"  {since:>4} ", "dim"), (f"{glyph} ", tone), (f"{row['object_name']} ", "")]
    if row["state"] == "running":
        left = pace(row, now)
        return [*cells, (f"{row['progress']}% {row['step']}{', ' + left if left else ''}", tone)]
    return [*cells, (str((row["error"] or {}).get("title", row["kind"])), tone)]


def _many(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _attention(pulse: Pulse, now: int) -> Tile:
    """What a person should see to; one line that says so when there is nothing."""
    spots: list[Spot] = []

    def wants(key: str, glyph: str, tone: str, text: str, count: int, kind: str, filter: str = "") -> None:
        spots.append(
            Spot(
                key=f"attention/{key}",
                draw=_told((f"{glyph} ", tone), (f"{count} ", "head"), (text, tone)),
                locator=Locator(kind=kind, filter=filter),
            )
        )

    if pulse.findings:
        wants("findings", "!", "warn", f"{_many('finding', pulse.findings)} on hosts", pulse.findings, "finding")
    for (kind, status), count in sorted(pulse.faults.items()):
        wants(f"{kind}/{status}", "!", "bad", f"{_many(kind, count)} in {status}", count, kind, f"status={status}")
    if pulse.unproven:
        wants(
            "unproven", "?", "warn", f"{_many('backup', pulse.unproven)} no drill has proven", pulse.unproven, "backup",
            "status=available proven=false",
        )  # fmt: skip
    spots.append(Spot(key="attention/drill", draw=_drill(pulse, now), locator=Locator(kind="backup")))
    if len(spots) == 1 and not _overdue(pulse, now):
        spots.insert(0, Spot(key="attention/none", draw=_told(("+ nothing else", "ok"))))
    return Tile(name="attention", title="Needs attention", spots=tuple(spots), all=Locator(kind="finding"))


def _overdue(pulse: Pulse, now: int) -> bool:
    return bool(pulse.backups) and (pulse.proven_at is None or now - pulse.proven_at > OLD_DRILL)


def _drill(pulse: Pulse, now: int) -> Draw:
    if not pulse.backups:
        return _told(("- no backup yet", "dim"))
    if pulse.proven_at is None:
        return _told(("? restore drill ", ""), ("never", "warn"))
    tone = "warn" if _overdue(pulse, now) else "ok"
    return _told(
        (f"{'?' if tone == 'warn' else '+'} restore drill ", ""), (f"{duration(now - pulse.proven_at)} ago", tone)
    )


# ---------------------------------------------------------------------------- where each stands


def columns_of(found: Sequence[Tile], width: int) -> list[list[Tile]]:
    """The tiles in columns, as many as there is room for."""
    by_name = {tile.name: tile for tile in found}
    plans: tuple[tuple[str, ...], ...] = (("instances", "quota", "hosts", "pools", "operations", "attention"),)
    if width >= 120:
        plans = (("instances", "quota"), ("hosts", "pools"), ("operations", "attention"))
    elif width >= 66:
        plans = (("instances", "quota", "attention"), ("hosts", "pools", "operations"))
    columns = [[by_name[name] for name in names if name in by_name] for names in plans]
    return [column for column in columns if column]


def heights(column: Sequence[Tile], height: int) -> list[int]:
    """How many lines each tile of a column gets, its title included: what each needs while there is room; then the
    neediest give way, evenly. Together at most `height`."""
    wanted = [len(tile.spots) + 2 for tile in column]
    wanted[-1] -= 1  # no blank line below the last
    least = 2
    while sum(wanted) > height and max(wanted) > least:
        wanted[wanted.index(max(wanted))] -= 1
    return wanted


def shown(tile: Tile, height: int, *, last: bool) -> tuple[Spot, ...]:
    """The spots that fit below the title, with a blank line after them unless it is the `last` of a column or nothing
    is to spare; the last spot tells how many do not fit."""
    room = max(0, height - 1)
    if len(tile.spots) <= room:
        return tile.spots
    if not last and room > 2:
        room -= 1
    if not room:
        return ()
    hidden = len(tile.spots) - room + 1
    more = Spot(key=f"{tile.name}/more", draw=_told((f"  … {hidden} more", "dim")), locator=tile.all)
    return (*tile.spots[: room - 1], more)
