"""What a dashboard is made of: numbers that open a list, in tiles, in columns. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

from tui.locator import Locator
from tui.view import Cell

Draw = Callable[[int], list[Cell]]
"""Cells of at most so much width."""

NEAR, FULL = 0.8, 1.0
"""Shares of a limit from which on it is worth a look, and from which on nothing goes."""


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


def toned(share: float) -> str:
    """The tone of something so full."""
    return "bad" if share >= FULL else "warn" if share >= NEAR else ""


_PLAIN = re.compile(r"[\w.-]+", re.ASCII)
"""A name that a filter can hold, which gives commas, stars and blanks a meaning of their own."""


def meant(name: str, id: str) -> str:
    """The filter of one object: by its name, which people read, unless a filter cannot hold that."""
    return f"name={name}" if _PLAIN.fullmatch(name) else f"id={id}"


def told(*cells: Cell) -> Draw:
    """The same cells at any width."""
    return lambda width: list(cells)


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
    more = Spot(key=f"{tile.name}/more", draw=told((f"  … {hidden} more", "dim")), locator=tile.all)
    return (*tile.spots[: room - 1], more)
