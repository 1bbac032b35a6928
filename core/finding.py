"""Finding any object by what a person remembers of it: a piece of its name, its id, its address.

One query over all nouns that the caller may list, in the caller's project or in all: every arm of it stops at its own
limit, so that a letter which fits everything costs no more than a name which fits one thing.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Dialect,
    Select,
    String,
    bindparam,
    case,
    cast,
    func,
    literal,
    or_,
    true,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlmodel import Session, col

from core.context import Context
from core.identity.policy import allowed, authorize
from core.listing import Listing
from core.lists import LISTINGS
from core.network.tables import FixedIP, FloatingIP, Port
from core.sql import select

EACH = 25
"""Hits of one noun at most."""

LIMIT = 100
"""Hits in all."""

LONGEST = 200
"""Characters of a text that are looked at."""

PASSED_OVER = frozenset({"operation", "event", "finding", "attachment", "cached_image", "backend_host", "image_member"})
"""Nouns that have no name of their own, but that of what they are about."""

_PROSE = frozenset({"description"})
"""Columns of free text filters that are no name, id or address."""

_STATES = ("status", "state")

_ID = re.compile(r"[0-9a-f-]{4,}")
_ADDRESS = re.compile(r"[0-9a-f]*[.:][0-9a-f.:/]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hit:
    """An object that was found."""

    kind: str
    key: str
    name: str
    by: str
    """What was found in it: its name, or its id or an address."""
    status: str
    """As its list shows it; empty for what has none."""
    project_id: str
    """Empty for what belongs to no project."""
    rank: int = 0
    """0: it is just what was looked for; 1: begins so; 2: a part of it begins so; 3: holds it."""


def search(
    session: Session, ctx: Context, text: str, *, kinds: Iterable[str] | None = None, limit: int = LIMIT
) -> list[Hit]:
    """What has all words of a text in its name, its id or one of its addresses, the likeliest first. Case is ignored.

    `kinds`: only of these nouns. Nothing is found of what the caller's role may not list. Raises Forbidden when the
    context spans projects and may not.
    """
    words = tuple(text[:LONGEST].lower().split())
    if not words:
        return []
    if ctx.all_projects:
        authorize(ctx, "all_projects")
    wanted = tuple(
        kind
        for kind, listing in LISTINGS.items()
        if kind not in PASSED_OVER and (kinds is None or kind in kinds) and allowed(ctx, listing.rule)
    )
    if not wanted:
        return []
    whole = " ".join(words)
    connection = session.connection()
    query = _compiled(
        connection.dialect,
        wanted,
        len(words),
        by_id=_ID.fullmatch(whole) is not None,
        by_address=_ADDRESS.fullmatch(whole) is not None,
        ctx=dataclasses.replace(ctx, request_id="", source=""),
    )
    values: dict[str, Any] = {f"word{at}": f"%{_escaped(word)}%" for at, word in enumerate(words)}
    values |= {"first": whole, "last": f"{whole}\U0010ffff", "start": f"{_escaped(whole)}%"}
    given = query.params | {name: value for name, value in values.items() if name in query.params}
    parameters = tuple(given[name] for name in query.positiontup or ()) if query.positional else given
    found: dict[tuple[str, str], Hit] = {}
    for kind, key, name, by, status, project in connection.exec_driver_sql(query.string, parameters):
        if (kind, key) not in found:
            rank = min(_rank(name, whole), _rank(by or "", whole))
            hit = Hit(kind=kind, key=key, name=name, by=by or name, status=status, project_id=project or "", rank=rank)
            found[kind, key] = hit
    order = {kind: at for at, kind in enumerate(wanted)}

    def likelihood(hit: Hit) -> tuple[int, bool, int, str, str]:
        return hit.rank, whole not in hit.name.lower(), order[hit.kind], hit.name, hit.key

    return sorted(found.values(), key=likelihood)[:limit]


def _rank(text: str, whole: str) -> int:
    """As `Hit.rank`."""
    text = text.lower()
    if text == whole:
        return 0
    if text.startswith(whole):
        return 1
    return 2 if re.search(rf"[^a-z0-9]{re.escape(whole)}", text) else 3


def _escaped(word: str) -> str:
    """For LIKE with `\\` as its escape."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


@functools.lru_cache(maxsize=64)
def _compiled(
    dialect: Dialect, kinds: tuple[str, ...], words: int, *, by_id: bool, by_address: bool, ctx: Context
) -> SQLCompiler:
    """The query as SQL. Kept, because to build and compile it takes longer than to run it."""
    arms: list[Select[Any]] = []
    for kind in kinds:
        arms += _arms(LISTINGS[kind], words, ctx, by_id=by_id, by_address=by_address)
        if by_address:
            arms += _addressed(LISTINGS[kind], ctx)
    statement = union_all(*(select(arm.limit(EACH).subquery()) for arm in arms))
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    assert isinstance(compiled, SQLCompiler)
    return compiled


def _arms(listing: Listing, words: int, ctx: Context, *, by_id: bool, by_address: bool) -> list[Select[Any]]:
    """Names that begin with the text, by the index of names; and whatever holds all words."""
    name = listing.columns[listing.name]
    columns = _searched(listing, by_id=by_id, by_address=by_address)
    held = [or_(*(_holds(column, f"word{at}") for column in columns)) for at in range(words)]
    arms = []
    if _stored(name):
        begins = _query(listing, ctx, name).where(name >= bindparam("first", ""), name < bindparam("last", ""))
        arms.append(begins.order_by(name))
    others = [column for column in columns if column is not name]
    by = name
    for column in reversed(others):
        # What was found tells why it was: a name before an id.
        by = _first(column, by) if words == 1 else by
    holds = _query(listing, ctx, by).where(*held)
    # In the order of an index of names, where there is one: it is read instead of the rows, and no further than needed.
    return [*arms, holds.order_by(name) if _is_indexed(name) else holds]


def _is_indexed(name: Any) -> bool:
    column = getattr(name, "expression", None)
    return isinstance(column, Column) and any(column in index.columns.values() for index in column.table.indexes)


def _first(column: Any, otherwise: Any) -> Any:
    return case((_holds(column, "word0"), _text(column)), else_=_text(otherwise))


def _addressed(listing: Listing, ctx: Context) -> list[Select[Any]]:
    """Servers and ports by the addresses they have: the few addresses first, whose they are after that."""
    if listing.kind not in ("port", "instance"):
        return []
    mine: Any = true() if ctx.all_projects else col(Port.project_id) == ctx.project_id
    arms = []
    for table, address in ((FixedIP, col(FixedIP.ip)), (FloatingIP, col(FloatingIP.address))):
        whose = col(Port.id) if listing.kind == "port" else col(Port.device_id)
        found = select(whose.label("whose"), address.label("address")).where(
            col(table.port_id) == col(Port.id), _holds(address, "start"), mine
        )
        # Twice the same few rows: once to come from them to the object, once to say which address it was.
        few = found.limit(EACH).cte(f"{listing.kind}_{table.__tablename__}")
        by = select(func.min(few.c.address)).where(few.c.whose == listing.columns[listing.key]).scalar_subquery()
        arms.append(_query(listing, ctx, by).where(listing.columns[listing.key].in_(select(few.c.whose))))
    return arms


def _query(listing: Listing, ctx: Context, by: Any) -> Select[Any]:
    """(kind, key, name, by, status, project) of a noun, as far as the caller sees it."""
    columns = listing.columns
    status = next((columns[name] for name in _STATES if name in columns), literal(""))
    query = listing.source(
        select(
            literal(listing.kind).label("kind"),
            _text(columns[listing.key]).label("key"),
            _text(columns[listing.name]).label("name"),
            _text(by).label("by"),
            _text(status).label("status"),
            _text(columns.get("project_id", literal(""))).label("project"),
        )
    )
    for condition in (listing.scope(ctx), listing.shown(ctx, {})):
        if condition is not True:
            query = query.where(condition)
    return query


def _searched(listing: Listing, *, by_id: bool, by_address: bool) -> Sequence[Any]:
    """Names, ids and addresses of the noun itself, as far as they are stored: what a listing computes would have to be
    computed for every row."""
    names = dict.fromkeys((listing.name, *listing.search, *((listing.key,) if by_id else ())))
    for name, looked_at in ((listing.key, by_id), ("mac", by_address)):
        if not looked_at and name != listing.name:
            names.pop(name, None)
    table = getattr(listing.columns[listing.key], "table", None)
    columns = [listing.columns[name] for name in names if name not in _PROSE]
    return [column for column in columns if _stored(column) and column.table is table]


def _stored(expression: Any) -> bool:
    return isinstance(getattr(expression, "expression", None), Column)


def _text(expression: Any) -> Any:
    return expression if isinstance(getattr(expression, "type", None), String) else cast(expression, String)


def _holds(column: Any, word: str) -> Any:
    return _like(column, bindparam(word, ""))


class _like(FunctionElement[bool]):
    """LIKE without regard to case, as the database does it fastest: SQLite's own LIKE has none."""

    type = Boolean()
    inherit_cache = True


@compiles(_like)
def _plainly(element: Any, compiler: Any, **how: Any) -> str:
    column, word = element.clauses
    return f"lower({compiler.process(column, **how)}) LIKE {compiler.process(word, **how)} ESCAPE '\\'"


@compiles(_like, "sqlite")
def _by_itself(element: Any, compiler: Any, **how: Any) -> str:
    column, word = element.clauses
    return f"{compiler.process(column, **how)} LIKE {compiler.process(word, **how)} ESCAPE '\\'"
