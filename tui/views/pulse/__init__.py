"""The dashboard's tiles: what they tell and which list each of their numbers opens. Pure.

A number is a `Spot`: the cursor stands on it, and Enter opens exactly what it counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tui.charts import bar
from tui.locator import Locator
from tui.progress import pace
from tui.text import duration
from tui.verbs import Row
from tui.view import Cell
from tui.views.cells import OPERATION_STATES, compact
from tui.views.instances import STATUS
from tui.views.pulse import capacity
from tui.views.pulse.spots import Draw, Spot, Tile, columns_of, heights, shown, told, toned
from tui.widgets.lines import fit

if TYPE_CHECKING:
    from core.metrics import Latest
    from core.pulse import Pulse

__all__ = ["Spot", "Tile", "columns_of", "heights", "shown", "tiles"]

OLD_DRILL = 30 * 86_400_000_000
"""Microseconds after which a proven backup tells little."""


def tiles(pulse: Pulse, measured: Mapping[str, Latest], *, project: str, now: int, glyphs: str) -> list[Tile]:
    """All tiles the caller may see. `measured`: host id to what was measured of it."""
    found = [_instances(pulse, glyphs), _quotas(pulse, project, glyphs)]
    if pulse.hosts is not None:
        found.append(capacity.hosts_tile(pulse.hosts, measured, glyphs))
    if pulse.pools is not None:
        found.append(capacity.pools_tile(pulse.pools, glyphs))
    return [*found, _operations(pulse, now), _attention(pulse, now)]


def _counted(glyph: str, word: str, tone: str, count: int, whole: int, glyphs: str) -> Draw:
    """`+ ACTIVE      40 ⣿⣿⣿⣀`."""

    def draw(width: int) -> list[Cell]:
        # As many places as the largest count of the tile has, so that bars begin below each other.
        places = max(4, len(str(whole)))
        room = width - 2 - 14 - places - 1
        shown = bar(count, whole, room, glyphs) if room >= 4 else ""
        return [(f"{glyph} {fit(word, 14)}", tone), (f"{count:>{places}} ", ""), (shown, tone or "dim")]

    return draw


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
                draw=told(("none yet: Enter, then n", "dim")),
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
        tone = toned(used / limit if limit > 0 else 1.0) if limit >= 0 and used else ""
        room = width - 13 - 11
        shown = bar(used, limit, room, glyphs) if room >= 4 and limit >= 0 else ""
        return [(fit(label, 13), "dim"), (f"{text:>10} ", tone), (shown, tone or "ok")]

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
                    draw=told((f"{glyph} {fit(state, 12)}", tone if count else "dim"), (f"{count:>6}", "")),
                    locator=Locator(kind="operation", filter=f"state={state}"),
                )
            )
    for row in (*pulse.running, *pulse.failed):
        spots.append(
            Spot(
                key=f"operations/{row['id']}",
                draw=told(*_operation(row, now)),
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
                draw=told((f"{glyph} ", tone), (f"{count} ", "head"), (text, tone)),
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
        spots.insert(0, Spot(key="attention/none", draw=told(("+ nothing else", "ok"))))
    return Tile(name="attention", title="Needs attention", spots=tuple(spots), all=Locator(kind="finding"))


def _overdue(pulse: Pulse, now: int) -> bool:
    return bool(pulse.backups) and (pulse.proven_at is None or now - pulse.proven_at > OLD_DRILL)


def _drill(pulse: Pulse, now: int) -> Draw:
    if not pulse.backups:
        return told(("- no backup yet", "dim"))
    if pulse.proven_at is None:
        return told(("? restore drill ", ""), ("never", "warn"))
    tone = "warn" if _overdue(pulse, now) else "ok"
    return told(
        (f"{'?' if tone == 'warn' else '+'} restore drill ", ""), (f"{duration(now - pulse.proven_at)} ago", tone)
    )
