"""Lists: one reader for every noun. Core selects, never ORM objects, because lists are what people wait for.

A noun declares its columns once (`Listing`); from that come pages for commands (keyset: a marker and a limit, stable
under inserts), windows for the app (offset and limit into the same order) and counts. Every order ends in the key,
so equal values never shuffle.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import JSON, Column, ColumnElement, Select, and_, false, func, literal, or_, true
from sqlmodel import Session, col

from core.context import Context
from core.errors import Invalid
from core.identity.policy import authorize
from core.identity.projects import Project
from core.sql import select
from core.store import now

Row = dict[str, Any]

_MOST_VARIABLES = 500
"""Values of one IN list: databases limit them."""

_NUMBER = re.compile(r"-?\d{1,18}")
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """How a noun is listed."""

    kind: str
    """The noun, singular: `instance`."""
    rule: str
    columns: dict[str, Any]
    """Column name to SQL expression. `key` must be among them."""
    source: Callable[[Select[Any]], Select[Any]] = lambda query: query
    """Adds the FROM and JOINs the columns need. A join is to one row: it neither adds rows nor drops any."""
    scope: Callable[[Context], Any]
    """The WHERE of what the caller may see; honours ctx.all_projects."""
    shown: Callable[[Context, Mapping[str, str]], Any] = lambda ctx, where: True
    """The WHERE of what a list shows of it, given its filters: what is seen by its key may be in no list."""
    key: str = "id"
    name: str = "name"
    """What `/text` and markers by name look at."""
    search: tuple[str, ...] = ("name",)
    """Columns a free text filter looks into."""
    terms: dict[str, Callable[[int, str], Any]] = dataclasses.field(default_factory=dict)
    """Filters that mean more than that a column has a value: (now in microseconds, what was typed) to a WHERE. Raise
    Invalid for what they cannot understand."""
    sort: str = "name"
    """The usual order; `-column` for descending."""
    enrich: Callable[[Session, list[Row]], None] = lambda session, rows: None
    """Fills in what one more query per page tells, e.g. addresses."""

    @property
    def plain(self) -> tuple[str, ...]:
        """Columns of one value: those that can be sorted and filtered by."""
        return tuple(name for name, column in self.columns.items() if not isinstance(column.type, JSON))


def own(column: Any) -> Callable[[Context], Any]:
    """Scope: rows whose `column` is the caller's project, or all of them."""
    return lambda ctx: True if ctx.all_projects else column == ctx.project_id


def of_project(table: Any) -> Callable[[Select[Any]], Select[Any]]:
    """Source: a table, with the project each row belongs to."""

    def joined(query: Select[Any]) -> Select[Any]:
        return query.select_from(table).outerjoin(Project, col(Project.id) == col(table.project_id))

    return joined


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
    query, order = _query(session, ctx, listing, sort=sort, where=where or {}, text=text)
    if marker is not None:
        found = session.execute(query.where(_keyed(listing, marker))).mappings().first()
        if found is None:
            raise Invalid(f"marker {marker!r} is not in this list", hint="Use the last id of the page before.")
        query = query.where(_after(listing, order, found))
    query = _ordered(listing, query, order)
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
    query, order = _query(session, ctx, listing, sort=sort, where=where or {}, text=text)
    query = _ordered(listing, query, order)
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
    query, order = _query(session, ctx, listing, sort=sort, where=where or {}, text=text)
    query = _ordered(listing, query, order)
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
    query, order = _query(session, ctx, listing, sort=sort, where=where or {}, text=text)
    found = session.execute(query.where(_keyed(listing, key))).mappings().first()
    if found is None:
        return None
    before = query.where(_after(listing, [(name, not descending) for name, descending in order], found))
    counted = before.with_only_columns(func.count(listing.columns[listing.key]), maintain_column_froms=True)
    return int(session.execute(counted).scalar_one())


def present(session: Session, ctx: Context, listing: Listing, wanted: Sequence[str]) -> set[str]:
    """Which of these keys the caller still sees, whatever the filter: what marks are checked with."""
    query, _ = _query(session, ctx, listing, sort=None, where={}, text="", by_key=True)
    column = listing.columns[listing.key]
    only = query.with_only_columns(column, maintain_column_froms=True)
    found: set[str] = set()
    for start in range(0, len(wanted), _MOST_VARIABLES):
        some = [_key(listing, key) for key in wanted[start : start + _MOST_VARIABLES]]
        found.update(session.execute(only.where(column.in_([key for key in some if key is not None]))).scalars())
    return found


def count(
    session: Session, ctx: Context, listing: Listing, *, where: dict[str, str] | None = None, text: str = ""
) -> int:
    query, _ = _query(session, ctx, listing, sort=None, where=where or {}, text=text)
    return int(session.execute(_counting(listing, query)).scalar_one())


def tally(
    session: Session,
    ctx: Context,
    listing: Listing,
    columns: Sequence[str],
    *,
    where: dict[str, str] | None = None,
) -> dict[tuple[Any, ...], int]:
    """How many rows there are of each combination of these columns' values: what a list filtered by them shows."""
    query, _ = _query(session, ctx, listing, sort=None, where=where or {}, text="")
    grouped = [_comparable(listing, name) for name in columns]
    found = session.execute(_counting(listing, query, *grouped).group_by(*grouped)).all()
    return {tuple(row[:-1]): int(row[-1]) for row in found}


def values(session: Session, ctx: Context, listing: Listing, column: str, *, limit: int) -> list[str]:
    """What a column holds, the most frequent first: what could be filtered by. Of names and keys the first ones."""
    if column in (listing.key, listing.name):
        slim = dataclasses.replace(listing, enrich=lambda session, rows: None)
        found: dict[Any, None] = dict.fromkeys(
            row[column] for row in page(session, ctx, slim, limit=limit, sort=column)
        )
    else:
        counted = tally(session, ctx, listing, [column])
        found = dict.fromkeys(value for (value,), _ in sorted(counted.items(), key=lambda one: -one[1])[:limit])
    return [str(value).lower() if isinstance(value, bool) else str(value) for value in found if value not in (None, "")]


def _counting(listing: Listing, query: Select[Any], *columns: Any) -> Select[Any]:
    """SELECT of these columns and of how many rows the query has. The key's own table alone is counted when nothing
    that is asked concerns the joined ones: ten times faster over 50,000 rows."""
    key = listing.columns[listing.key]
    if (table := getattr(key, "table", None)) is not None:
        alone = select(*columns, func.count()).select_from(table)
        if query.whereclause is not None:
            alone = alone.where(query.whereclause)
        if alone.get_final_froms() == [table]:
            return alone
    return query.with_only_columns(*columns, func.count(key), maintain_column_froms=True)


def one(session: Session, ctx: Context, listing: Listing, key: str) -> Row | None:
    """A single row by key; None when it is gone or not the caller's to see."""
    query, _ = _query(session, ctx, listing, sort=None, where={}, text="", by_key=True)
    rows = _rows(session, listing, query.where(_keyed(listing, key)))
    return rows[0] if rows else None


def those(session: Session, ctx: Context, listing: Listing, condition: Any, *, limit: int | None = None) -> list[Row]:
    """The rows that a WHERE of one's own chooses, of all that the caller sees by its key, in the usual order."""
    query, order = _query(session, ctx, listing, sort=None, where={}, text="", by_key=True)
    query = _ordered(listing, query.where(condition), order)
    return _rows(session, listing, query.limit(limit) if limit is not None else query)


def how_many(session: Session, ctx: Context, listing: Listing, condition: Any) -> int:
    """How many `those` would answer without a limit."""
    query, _ = _query(session, ctx, listing, sort=None, where={}, text="", by_key=True)
    return int(session.execute(_counting(listing, query.where(condition))).scalar_one())


def _rows(session: Session, listing: Listing, query: Select[Any]) -> list[Row]:
    rows = [dict(row) for row in session.execute(query).mappings()]
    listing.enrich(session, rows)
    return rows


def _query(
    session: Session,
    ctx: Context,
    listing: Listing,
    *,
    sort: str | None,
    where: dict[str, str],
    text: str,
    by_key: bool = False,
) -> tuple[Select[Any], list[tuple[str, bool]]]:
    authorize(ctx, listing.rule)
    if ctx.all_projects:
        authorize(ctx, "all_projects")
    query = listing.source(select(*(column.label(name) for name, column in listing.columns.items())))
    for narrowed in (listing.scope(ctx), True if by_key else listing.shown(ctx, where)):
        if narrowed is not True:
            query = query.where(narrowed)
    for column, wanted in where.items():
        if (term := listing.terms.get(column)) is not None:
            hit = term(now(session), wanted.removeprefix("!"))
            query = query.where(~hit if wanted.startswith("!") else hit)
        else:
            query = query.where(_matches(listing, column, wanted))
    if text:
        query = query.where(_contains(listing, text))
    return query, _order(listing, sort or listing.sort)


def _column(listing: Listing, name: str) -> Any:
    expression = listing.columns.get(name)
    if expression is None:
        raise Invalid(f"{listing.kind} lists have no column {name!r}", hint=f"They have {', '.join(listing.columns)}.")
    return expression


def _comparable(listing: Listing, name: str) -> Any:
    expression = _column(listing, name)
    if isinstance(expression.type, JSON):
        raise Invalid(f"{listing.kind} lists can be neither sorted nor filtered by {name}", hint="It is a structure.")
    return expression


def _is_nullable(expression: Any) -> bool:
    """Of a table's own column; what a listing computes is never empty."""
    column = getattr(expression, "expression", None)
    return isinstance(column, Column) and bool(column.nullable)


def _key(listing: Listing, text: str) -> Any:
    """A key as its column has it; None when it can be none."""
    if listing.columns[listing.key].type.python_type is not int:
        return text
    return int(text) if _NUMBER.fullmatch(str(text)) else None


def _keyed(listing: Listing, text: str) -> ColumnElement[bool]:
    key = _key(listing, text)
    return false() if key is None else listing.columns[listing.key] == key


def _matches(listing: Listing, column: str, wanted: str) -> ColumnElement[bool]:
    """`value`, `one,another`, `begins*`, `!value`; numbers compare as numbers, words without regard to case; an
    empty word is what is not set."""
    expression = _comparable(listing, column)
    negated = wanted.startswith("!")
    value = wanted.removeprefix("!")
    same = _equals(expression, column, value)
    if _is_nullable(expression):
        # Without this, what is not set would be neither equal nor unequal.
        same = or_(same, expression.is_(None)) if not value else and_(same, expression.is_not(None))
        return ~func.coalesce(same, false()) if negated else same
    return ~same if negated else same


def _equals(expression: Any, column: str, value: str) -> ColumnElement[bool]:
    """One of what is between commas; of words the whole too, for it may be a name with a comma."""
    kind = expression.type.python_type
    parts = [part for part in value.split(",") if part] or [value]
    if kind is bool:
        for part in parts:
            if part.lower() not in _WORDS:
                raise Invalid(f"{column} is true or false, {part!r} is not")
        return _among(expression, [_WORDS[part.lower()] for part in parts])
    if kind is int:
        for part in parts:
            if not _NUMBER.fullmatch(part):
                raise Invalid(f"{column} is a number, {part!r} is not")
        return _among(expression, [int(part) for part in parts])
    lowered = func.lower(expression)
    beginnings = [part[:-1].lower() for part in parts if part.endswith("*")]
    whole = {value.lower(), *(part.lower() for part in parts)} if len(parts) > 1 or not beginnings else set()
    clauses = [lowered.startswith(beginning, autoescape=True) for beginning in beginnings]
    return or_(*clauses, *([_among(lowered, sorted(whole))] if whole else []))


def _among(expression: Any, values: list[Any]) -> ColumnElement[bool]:
    found: ColumnElement[bool] = expression == values[0] if len(values) == 1 else expression.in_(values)
    return found


def _contains(listing: Listing, text: str) -> ColumnElement[bool]:
    """Free text: every word is contained in one of the search columns, and no `!word` is. After `-f` a word's letters
    need only come in its order, in the name."""
    words = text.split()
    fuzzy = words[:1] == ["-f"]
    columns = [name for name in listing.search if not fuzzy or name != listing.key] or list(listing.search)
    clauses = []
    for word in words[fuzzy:]:
        if needle := word.removeprefix("!").lower():
            letters = [f"\\{letter}" if letter in "%_\\" else letter for letter in needle]
            pattern = f"%{'%'.join(letters) if fuzzy else ''.join(letters)}%"
            hit = or_(*(func.lower(listing.columns[name]).like(pattern, escape="\\") for name in columns))
            clauses.append(~hit if word.startswith("!") else hit)
    return and_(true(), *clauses)


def _order(listing: Listing, sort: str) -> list[tuple[str, bool]]:
    """`name,-created_at` (or openstack's `name:desc`) to [(column, descending)…], ending in the key."""
    order: list[tuple[str, bool]] = []
    for part in sort.split(","):
        name, _, direction = part.strip().partition(":")
        descending = name.startswith("-") or direction == "desc"
        name = name.removeprefix("-")
        _comparable(listing, name)
        order.append((name, descending))
    if listing.key not in [name for name, _ in order]:
        order.append((listing.key, order[-1][1]))
    return order


def _ordered(listing: Listing, query: Select[Any], order: Sequence[tuple[str, bool]]) -> Select[Any]:
    """What is not set comes before everything else, on every database."""
    for name, descending in order:
        expression = listing.columns[name]
        term = expression.desc() if descending else expression.asc()
        if _is_nullable(expression):
            term = term.nulls_last() if descending else term.nulls_first()
        query = query.order_by(term)
    return query


def _after(listing: Listing, order: Sequence[tuple[str, bool]], row: Any) -> ColumnElement[bool]:
    """Rows that come after `row`: lexicographic comparison, written out because directions may differ."""
    clauses = []
    for index, (name, descending) in enumerate(order):
        equal = [listing.columns[earlier].is_not_distinct_from(row[earlier]) for earlier, _ in order[:index]]
        clauses.append(and_(*equal, _beyond(listing.columns[name], row[name], descending=descending)))
    name, descending = order[0]
    first = listing.columns[name]
    if _is_nullable(first):
        return or_(*clauses)
    # Says nothing new, but is what an index can begin at.
    value = literal(row[name], first.type)
    return and_(first <= value if descending else first >= value, or_(*clauses))


def _beyond(expression: Any, value: Any, *, descending: bool) -> ColumnElement[bool]:
    if value is None:
        return false() if descending else expression.is_not(None)
    bound = literal(value, expression.type)
    beyond: ColumnElement[bool] = expression < bound if descending else expression > bound
    return or_(beyond, expression.is_(None)) if descending and _is_nullable(expression) else beyond
