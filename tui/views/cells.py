"""Formatters that several nouns share: (row, now) to a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui.text import duration
from tui.verbs import Row
from tui.view import Cell, Lines

Formatter = Callable[[Row, int], Cell]


OPERATION_STATES: dict[str, tuple[str, str]] = {
    "ready": (".", "dim"),
    "running": ("~", "busy"),
    "succeeded": ("+", "ok"),
    "failed": ("!", "bad"),
    "cancelled": ("x", "off"),
    "blocked": ("#", "bad"),
}
"""State to (glyph, tone)."""


def compact(count: int | None) -> str:
    """Bytes in at most five characters, powers of 1024: `512`, `1.5K`, `20G`. A column has no room for `20 GiB`."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("", "K", "M", "G"):
        if value < 1024:
            return f"{value:.1f}".removesuffix(".0") + unit if value < 10 and unit else f"{value:.0f}{unit}"
        value /= 1024
    return f"{value:.1f}".removesuffix(".0") + "T"


def aged(key: str) -> Formatter:
    """How long ago a timestamp column was."""

    def cell(row: Row, now: int) -> Cell:
        at = row.get(key)
        return (duration(now - at), "") if at else ("-", "dim")

    return cell


def plain(key: str) -> Formatter:
    """The column's text; a dash for nothing."""

    def cell(row: Row, now: int) -> Cell:
        value = row.get(key)
        return (str(value), "") if value not in (None, "") else ("-", "dim")

    return cell


def short(key: str) -> Formatter:
    """The first eight characters of an id."""

    def cell(row: Row, now: int) -> Cell:
        return str(row.get(key) or "-")[:8], "dim"

    return cell


def named(key: str = "name") -> Formatter:
    """The name; of what has none the beginning of its id."""

    def cell(row: Row, now: int) -> Cell:
        return (row[key], "") if row.get(key) else (str(row["id"])[:8], "dim")

    return cell


def yes_no(key: str) -> Formatter:
    def cell(row: Row, now: int) -> Cell:
        return ("yes", "") if row.get(key) else ("no", "dim")

    return cell


def mebibytes(key: str) -> Formatter:
    def cell(row: Row, now: int) -> Cell:
        return compact((row.get(key) or 0) << 20), ""

    return cell


def facts(pairs: list[tuple[str, Any]], *, columns: int = 1, label: int = 12, width: int = 34) -> Lines:
    """Label and value, one or several pairs to a line; nothing is written as a dash."""
    lines: Lines = []
    for start in range(0, len(pairs), columns):
        cells: list[Cell] = []
        for place, (name, value) in enumerate(pairs[start : start + columns]):
            text = "-" if value in (None, "") else str(value)
            last = place == len(pairs[start : start + columns]) - 1
            cells += [(f"{name:<{label}} ", "dim"), (text if last else f"{text[: width - 1]:<{width}}", "")]
        lines.append(cells)
    return lines


def changes(row: Row) -> str:
    """`name: a → b`, for the fields that changed."""
    before, after = row["before"] or {}, row["after"] or {}
    parts = []
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        parts.append(
            f"{key}: {old} → {new}" if key in before and key in after else f"{key}: {new if key in after else old}"
        )
    return ", ".join(parts)
