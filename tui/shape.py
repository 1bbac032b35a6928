"""Which columns a list has: its declaration's, or those a person chose, in their order and width. Pure.

A choice is a list of words, as kept in the settings: `NAME`, `NAME:WIDTH` (cells), either with a `?` after it when the
column is shown only where there is room. A name is the listing's column, so that every column there is can be shown,
sorted by and filtered, not only those that a view declares.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from tui.view import Column, View
from tui.views.cells import aged, plain

NARROWEST, WIDEST = 2, 80
"""Cells of a column that was given a width."""

_USUAL = 14
"""Cells of a column that no view declares."""


def named(column: Column) -> str:
    """What a choice calls the column."""
    return column.key or column.title.lower()


def word(column: Column, width: int | None = None) -> str:
    """The column in a choice, with a width of its own or none."""
    return f"{named(column)}{'' if width is None else f':{width}'}{'?' if column.wide else ''}"


def available(view: View, listed: Iterable[str]) -> tuple[Column, ...]:
    """Every column the list can have: the view's, then what else its listing (column names) knows."""
    known = {named(column) for column in view.columns}
    return (*view.columns, *(_plain(name) for name in listed if name not in known))


def _plain(name: str) -> Column:
    title = name.replace("_", " ").upper()
    cell = aged(name) if name.endswith("_at") else plain(name)
    return Column(title=title, key=name, width=max(_USUAL, len(title)), cell=cell)


def chosen(columns: Sequence[Column], words: Sequence[str]) -> tuple[Column, ...]:
    """The columns that a choice names, as wide as it says. What no longer exists is passed over; never empty."""
    by_name = {named(column): column for column in columns}
    found: list[Column] = []
    for one in words:
        name, _, width = one.removesuffix("?").partition(":")
        if name in by_name and name not in {named(column) for column in found}:
            column = dataclasses.replace(by_name[name], wide=one.endswith("?"))
            if width.isdigit():
                cells = max(NARROWEST, min(WIDEST, int(width)))
                column = dataclasses.replace(column, width=cells, grow=0)
            found.append(column)
    return tuple(found) or tuple(columns[:1])


def column_key(view: View, listed: Iterable[str], meant: str) -> str:
    """The listing's column that a person means: by its own name, or by the title over it (`age`, `mem`)."""
    lowered = meant.lower()
    if lowered in listed:
        return lowered
    titles = {column.title.lower(): column.key for column in view.columns if column.key}
    return titles.get(lowered, lowered)
