"""Lists: one reader for every noun. Core selects, never ORM objects, because lists are what people wait for.

A noun declares its columns once (`Listing`); from that come pages for commands (keyset: a marker and a limit, stable
under inserts), windows for the app (offset and limit into the same order) and counts. Every order ends in the key,
so equal values never shuffle.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_
from sqlmodel import Session

from core.context import Context
from core.errors import Invalid
from core.identity.policy import authorize
from core.sql import select

Row = dict[str, Any]

_MOST_VARIABLES = 500
"""Values of one IN list: databases limit them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """How a noun is listed."""

    kind: str
    """The noun, singular: `instance`."""
    rule: str
    columns: dict[str, Any]
    """Column name to SQL expression. `key` must be among them."""
    source: Callable[[Select[Any]], Select[Any]] = lambda query: query
    """Adds the FROM and JOINs the columns need."""
    scope: Callable[[Context], Any]
    """The WHERE of what the caller may see; honours ctx.all_projects."""
    key: str = "id"
    name: str = "name"
    """What `/text` and markers by name look at."""
    search: tuple[str, ...] = ("name",)
    """Columns a free text filter looks into."""
    sort: str = "name"
    """The usual order; `-column` for descending."""
    enrich: Callable[[Session, list[Row]], None] = lambda session, rows: None
    """Fills in what one more query per page tells, e.g. addresses."""


def page(
    session: Session,
    ctx: Context,
    listing: Listing,
    *,
    limit: int | None = None,
    marker: str | None = None,
    sort: str | None = None,
    where: dict[str, str] | None = None,
    text: str = "",
) -> list[Row]:
    """The `limit` rows after the one whose key is `marker`. Raises Invalid for an unknown column or marker."""
    query, order = _query(ctx, listing, sort=sort, where=where or {}, text=text)
    if marker is not None:
        found = session.execute(query.where(listing.columns[listing.key] == marker)).mappings().first()
        if found is None:
            raise Invalid(f"marker {marker!r} is not in this list", hint="Use the last id of the page before.")
        query = query.where(_after(listing, order, found))
    for column, descending in order:
        expression = listing.columns[column]
        query = query.order_by(expression.desc() if descending else expression.asc())
    if limit is not None:
        query = query.limit(limit)
    return _rows(session, listing, query)


def window(
    session: Session,
    ctx: Context,
    listing: Listing,
    *,
    offset: int,
    limit: int,
    sort: str | None = None,
    where: dict[str, str] | None = None,
    text: str = "",
) -> list[Row]:
    """Rows by position, for a screen that scrolls."""
    query, order = _query(ctx, listing, sort=sort, where=where or {}, text=text)
    for column, descending in order:
        expression = listing.columns[column]
        query = query.order_by(expression.desc() if descending else expression.asc())
    return _rows(session, listing, query.offset(offset).limit(limit))


def keys(
    session: Session,
    ctx: Context,
    listing: Listing,
    *,
    sort: str | None = None,
    where: dict[str, str] | None = None,
    text: str = "",
) -> list[str]:
    """Every key in order: what marks and the cursor stand on."""
    query, order = _query(ctx, listing, sort=sort, where=where or {}, text=text)
    for column, descending in order:
        expression = listing.columns[column]
        query = query.order_by(expression.desc() if descending else expression.asc())
    query = query.with_only_columns(listing.columns[listing.key], maintain_column_froms=True)
    return list(session.execute(query).scalars())


def position(
    session: Session,
    ctx: Context,
    listing: Listing,
    key: str,
    *,
    sort: str | None = None,
    where: dict[str, str] | None = None,
    text: str = "",
) -> int | None:
    """Where a row stands in the order, counted from 0; None when it is not in the list. A screen's cursor asks this."""
    query, order = _query(ctx, listing, sort=sort, where=where or {}, text=text)
    found = session.execute(query.where(listing.columns[listing.key] == key)).mappings().first()
    if found is None:
        return None
    before = query.where(_after(listing, [(name, not descending) for name, descending in order], found))
    counted = before.with_only_columns(func.count(listing.columns[listing.key]), maintain_column_froms=True)
    return int(session.execute(counted).scalar_one())


def present(session: Session, ctx: Context, listing: Listing, wanted: Sequence[str]) -> set[str]:
    """Which of these keys the caller still sees, whatever the filter: what marks are checked with."""
    query, _ = _query(ctx, listing, sort=None, where={}, text="")
    column = listing.columns[listing.key]
    only = query.with_only_columns(column, maintain_column_froms=True)
    found: set[str] = set()
    for start in range(0, len(wanted), _MOST_VARIABLES):
        found.update(session.execute(only.where(column.in_(wanted[start : start + _MOST_VARIABLES]))).scalars())
    return found


def count(
    session: Session, ctx: Context, listing: Listing, *, where: dict[str, str] | None = None, text: str = ""
) -> int:
    query, _ = _query(ctx, listing, sort=None, where=where or {}, text=text)
    narrowed = query.with_only_columns(func.count(listing.columns[listing.key]), maintain_column_froms=True)
    return int(session.execute(narrowed).scalar_one())


def one(session: Session, ctx: Context, listing: Listing, key: str) -> Row | None:
    """A single row by key; None when it is gone or not the caller's to see."""
    query, _ = _query(ctx, listing, sort=None, where={}, text="")
    rows = _rows(session, listing, query.where(listing.columns[listing.key] == key))
    return rows[0] if rows else None


def _rows(session: Session, listing: Listing, query: Select[Any]) -> list[Row]:
    rows = [dict(row) for row in session.execute(query).mappings()]
    listing.enrich(session, rows)
    return rows


def _query(
    ctx: Context, listing: Listing, *, sort: str | None, where: dict[str, str], text: str
) -> tuple[Select[Any], list[tuple[str, bool]]]:
    authorize(ctx, listing.rule)
    if ctx.all_projects:
        authorize(ctx, "all_projects")
    query = listing.source(select(*(column.label(name) for name, column in listing.columns.items())))
    scope = listing.scope(ctx)
    if scope is not True:
        query = query.where(scope)
    for column, wanted in where.items():
        query = query.where(_matches(listing, column, wanted))
    if text:
        query = query.where(_contains(listing, text))
    return query, _order(listing, sort or listing.sort)


def _column(listing: Listing, name: str) -> Any:
    expression = listing.columns.get(name)
    if expression is None:
        raise Invalid(f"{listing.kind} lists have no column {name!r}", hint=f"They have {', '.join(listing.columns)}.")
    return expression


def _matches(listing: Listing, column: str, wanted: str) -> ColumnElement[bool]:
    """`value`, `!value`; numbers compare as numbers, words without regard to case."""
    expression = _column(listing, column)
    negated = wanted.startswith("!")
    value: Any = wanted.removeprefix("!")
    kind = getattr(expression.type, "python_type", str)
    if kind is bool:
        value = value.lower() in ("true", "yes", "1")
        same = expression == value
    elif kind is int:
        if not re.fullmatch(r"-?\d+", value):
            raise Invalid(f"{column} is a number, {value!r} is not")
        same = expression == int(value)
    else:
        same = func.lower(expression) == value.lower()
    return ~same if negated else same


def _contains(listing: Listing, text: str) -> ColumnElement[bool]:
    """Free text: contained in one of the search columns; a leading `!` inverts."""
    needle = text.removeprefix("!")
    hit = or_(*(func.lower(listing.columns[name]).contains(needle.lower(), autoescape=True) for name in listing.search))
    return ~hit if text.startswith("!") else hit


def _order(listing: Listing, sort: str) -> list[tuple[str, bool]]:
    """`name,-created_at` (or openstack's `name:desc`) to [(column, descending)…], ending in the key."""
    order: list[tuple[str, bool]] = []
    for part in sort.split(","):
        name, _, direction = part.strip().partition(":")
        descending = name.startswith("-") or direction == "desc"
        name = name.removeprefix("-")
        _column(listing, name)
        order.append((name, descending))
    if listing.key not in [name for name, _ in order]:
        order.append((listing.key, order[-1][1]))
    return order


def _after(listing: Listing, order: Sequence[tuple[str, bool]], row: Any) -> ColumnElement[bool]:
    """Rows that come after `row`: lexicographic comparison, written out because directions may differ."""
    clauses = []
    for index, (name, descending) in enumerate(order):
        equal = [listing.columns[earlier] == row[earlier] for earlier, _ in order[:index]]
        expression = listing.columns[name]
        beyond = expression < row[name] if descending else expression > row[name]
        clauses.append(and_(*equal, beyond))
    return or_(*clauses)
