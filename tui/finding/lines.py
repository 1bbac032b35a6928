"""The lines of a tree of objects: above it what an object belongs to, below it what depends on it, as far as unfolded.

Read in one snapshot, level by level, only of what is open; plain data out. No widgets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from tui import registry
from tui.verbs import Row
from tui.view import Cell

PART = "\x1f"
"""Between the parts of a line's key: none of them holds it."""

OBJECT = "object"
GROUP = "group"
REST = "rest"
"""What is not shown of a group: too many, or in other projects."""

ELSEWHERE = "elsewhere"

FEW = 8
"""Objects of a group that are shown at first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """Which tree."""

    kind: str
    key: Any
    up: bool
    """With what it belongs to above it, and under it only what is inside of it."""
    turned: frozenset[str]
    """Keys of lines that are folded though they begin unfolded, or the other way round."""


def read(session: Any, ctx: Any, asked: Asked, now: int) -> list[Row] | None:
    """The lines from the top; None when the object is gone."""
    from core import listing as lists
    from core import relations
    from core.lists import LISTINGS

    row = lists.one(session, ctx, LISTINGS[asked.kind], asked.key)
    if row is None:
        return None
    above = relations.owners(session, ctx, asked.kind, row) if asked.up else []
    chain = [*((kin.kind, kin.row) for kin in reversed(above)), (asked.kind, row)]
    lines: list[Row] = []
    path = ""
    for depth, (kind, one) in enumerate(chain):
        path = _join(path, f"{kind} {one[LISTINGS[kind].key]}")
        last = depth == len(chain) - 1
        is_open = (path not in asked.turned) if last and relations.known(kind) else None
        lines.append(_object(kind, one, path, depth=depth, is_open=is_open, now=now, subject=last))
    if lines[-1]["open"]:
        _under(session, ctx, asked, lines, now)
    return lines


def _under(session: Any, ctx: Any, asked: Asked, lines: list[Row], now: int) -> None:
    """What depends on the last line, added below it."""
    from core import relations
    from core.lists import LISTINGS

    above = lines[-1]
    for group in relations.used_by(session, ctx, above["kind"], above["id"], inside=asked.up):
        path = _join(above["key"], group.title)
        is_open = path not in asked.turned
        lines.append(_group(group, path, depth=above["depth"] + 1, is_open=is_open))
        if not is_open:
            continue
        rest = _join(path, REST)
        shown = group.rows if rest in asked.turned or len(group.rows) <= FEW + 1 else group.rows[:FEW]
        for one in shown:
            key = one[LISTINGS[group.kind].key]
            below = _join(path, f"{group.kind} {key}")
            # What is above already has been told; and what nothing can depend on has nothing to unfold.
            again = f"{group.kind} {key}" in path.split(PART)
            foldable = relations.known(group.kind) and not again
            is_open_too = (below in asked.turned) if foldable else None
            lines.append(_object(group.kind, one, below, depth=above["depth"] + 2, is_open=is_open_too, now=now))
            if is_open_too:
                _under(session, ctx, asked, lines, now)
        depth = above["depth"] + 2
        if (left := group.count - len(shown)) > 0:
            more = False if len(shown) < len(group.rows) else None
            lines.append(_rest(group, rest, f"{left} more", depth=depth, is_open=more))
        if group.elsewhere:
            name = f"{group.elsewhere} in other projects"
            lines.append(_rest(group, _join(path, ELSEWHERE), name, depth=depth, is_open=None))


def _join(path: str, part: str) -> str:
    return f"{path}{PART}{part}" if path else part


def _line(**told: Any) -> Row:
    """Every line has all of it."""
    blank: Row = {"open": None, "status": ("", ""), "note": "", "what": "", "filter": "", "row": None}
    return blank | {"subject": False, "elsewhere": False} | told


def _object(
    kind: str, row: Row, path: str, *, depth: int, is_open: bool | None, now: int, subject: bool = False
) -> Row:
    from core.lists import LISTINGS

    listing = LISTINGS[kind]
    key = row[listing.key]
    status, note = about(kind, row, now)
    return _line(
        key=path,
        line=OBJECT,
        kind=kind,
        id=key,
        name=str(row[listing.name] or "") or str(row.get("label") or str(key)[:8]),
        depth=depth,
        open=is_open,
        what=kind.replace("_", " "),
        status=status,
        note=note,
        row=row,
        subject=subject,
    )


def _group(group: Any, path: str, *, depth: int, is_open: bool) -> Row:
    elsewhere = f" and {group.elsewhere} elsewhere" if group.elsewhere else ""
    return _line(
        key=path,
        line=GROUP,
        kind=group.kind,
        id="",
        name=group.title,
        depth=depth,
        open=is_open,
        what=f"{group.count}{elsewhere}",
        filter=group.filter,
    )


def _rest(group: Any, path: str, name: str, *, depth: int, is_open: bool | None) -> Row:
    notes = ["→ shows them"] if is_open is False else []
    notes += ["Enter opens their list"] if group.filter else []
    return _line(
        key=path,
        line=REST,
        kind=group.kind,
        id="",
        name=name,
        depth=depth,
        open=is_open,
        note=", ".join(notes),
        filter=group.filter,
        elsewhere=path.endswith(ELSEWHERE),
    )


def about(kind: str, row: Row, now: int) -> tuple[Cell, str]:
    """(its status as its list shows it, the first line of what its list tells below it)."""
    view = registry.VIEWS.get(kind)
    status: Cell = (str(row.get("status") or row.get("state") or ""), "")
    if view is None:
        return status, ""
    for column in view.columns:
        if column.title in ("STATUS", "STATE") and column.cell is not None:
            status = column.cell(row, now)
    lines = view.preview(row, now)
    return status, " ".join("".join(text for text, _ in lines[0]).split()) if lines else ""


def matching(lines: Sequence[Row], holds: Callable[[Row], bool]) -> list[Row]:
    """The lines that hold something, with those above them, and what is unfolded below them."""
    kept: set[str] = set()
    within: tuple[str, ...] = ()
    for line in lines:
        if not (within and line["key"].startswith(within)):
            if not holds(line):
                continue
            if line["line"] == OBJECT and not line["subject"]:
                within = (*within, line["key"] + PART)
        parts = line["key"].split(PART)
        kept |= {PART.join(parts[:at]) for at in range(1, len(parts) + 1)}
    return [line for line in lines if line["key"] in kept]
