"""How objects hang together: what depends on one, what it belongs to, and the way up to what holds it all.

Answered from one declared map (`declared.RELATIONS`), through the listings: what the caller may not see is not there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from sqlmodel import Session

from core import listing as lists
from core.context import Context
from core.identity.policy import allowed
from core.listing import Listing, Row
from core.lists import LISTINGS
from core.relations.declared import POINTERS, RELATIONS
from core.relations.relation import Relation

SHOWN = 50
"""Objects of a group that are read; the others are only counted."""

DEEPEST = 8
"""Levels of owners: enough for every declared chain, and an end for what goes in circles."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """What depends on an object in one way."""

    title: str
    kind: str
    rows: tuple[Row, ...]
    """At most as many as were asked for, as their listing has them."""
    count: int
    elsewhere: int = 0
    """How many more there are in other projects, which the caller may look at but does not now."""
    filter: str = ""
    """By which the list of `kind` shows just these; empty: none does."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kin:
    """One object, and of which noun it is."""

    kind: str
    row: Row


def known(kind: str) -> bool:
    """Whether anything can depend on such an object."""
    return any(kind == relation.above or (kind == relation.below and relation.mutual) for relation in RELATIONS)


def used_by(
    session: Session, ctx: Context, kind: str, key: str, *, limit: int = SHOWN, inside: bool = False
) -> list[Group]:
    """What depends on an object, by groups; none that is empty. `inside`: only what a tree shows under it.

    What the caller's role may not list is left out, and nothing is told of an object that is not the caller's to see.
    """
    row = lists.one(session, ctx, LISTINGS[kind], key)
    if row is None:
        return []
    groups = []
    for relation, title, other in _ways(kind, inside=inside):
        down = other == relation.below and relation.above == kind
        group = _group(session, ctx, relation, row, down=down, title=title, limit=limit)
        if group is not None:
            groups.append(group)
    return groups


def owner(session: Session, ctx: Context, kind: str, row: Row) -> Kin | None:
    """What an object belongs to, as far as the caller may see it: a port's server, a server's host. None: nothing."""
    if kind in POINTERS:
        listing = LISTINGS.get(row["object_kind"])
        found = listing and allowed(ctx, listing.rule) and lists.one(session, ctx, listing, row["object_id"])
        return Kin(kind=row["object_kind"], row=found) if found else None
    for relation in RELATIONS:
        listing = LISTINGS[relation.above]
        if relation.below != kind or not relation.owner or not allowed(ctx, listing.rule):
            continue
        condition = _above(relation, ctx, row[LISTINGS[kind].key])
        for found in lists.those(session, ctx, listing, condition, limit=1):
            return Kin(kind=relation.above, row=found)
    return None


def owners(session: Session, ctx: Context, kind: str, row: Row) -> list[Kin]:
    """The way up: what an object belongs to, what that belongs to, and so on; the nearest first."""
    chain: list[Kin] = []
    while len(chain) < DEEPEST and (above := owner(session, ctx, kind, row)) is not None:
        chain.append(above)
        kind, row = above.kind, above.row
    return chain


def _ways(kind: str, *, inside: bool) -> Iterator[tuple[Relation, str, str]]:
    """(relation, what those at its other end are called, their noun)."""
    for relation in RELATIONS:
        if relation.above == kind and (relation.inside or not inside):
            yield relation, relation.title, relation.below
        if relation.below == kind and relation.mutual and not inside:
            yield relation, relation.mutual, relation.above


def _group(
    session: Session, ctx: Context, relation: Relation, row: Row, *, down: bool, title: str, limit: int
) -> Group | None:
    kind, other = (relation.above, relation.below) if down else (relation.below, relation.above)
    listing = LISTINGS[other]
    if not allowed(ctx, listing.rule):
        return None
    key = row[LISTINGS[kind].key]
    condition = _below(relation, ctx, key) if down else _above(relation, ctx, key)
    rows = lists.those(session, ctx, listing, condition, limit=limit) if limit else []
    count = len(rows) if limit and len(rows) < limit else lists.how_many(session, ctx, listing, condition)
    elsewhere = _everywhere(session, ctx, listing, condition) - count
    if not count and not elsewhere:
        return None
    filter = relation.filter.format_map(row) if down and relation.filter else ""
    return Group(title=title, kind=other, rows=tuple(rows), count=count, elsewhere=max(0, elsewhere), filter=filter)


def _everywhere(session: Session, ctx: Context, listing: Listing, condition: object) -> int:
    """How many there are in all projects, as far as the caller may know; 0: no more than are seen."""
    if ctx.all_projects or not allowed(ctx, "all_projects"):
        return 0
    return lists.how_many(session, dataclasses.replace(ctx, all_projects=True), listing, condition)


def _below(relation: Relation, ctx: Context, above: str) -> Any:
    """The WHERE of those that depend on it."""
    key = _key(relation.below)
    query = relation.pairs(ctx)
    first, second = query.selected_columns
    if second is key.expression and query.get_final_froms() == [second.table]:
        # The reference is a column of theirs: no list of keys has to be made first.
        return query.where(first == above).whereclause
    return key.in_(query.with_only_columns(second, maintain_column_froms=True).where(first == above))


def _above(relation: Relation, ctx: Context, below: str) -> Any:
    """The WHERE of those it depends on."""
    query = relation.pairs(ctx)
    first, second = query.selected_columns
    return _key(relation.above).in_(query.with_only_columns(first, maintain_column_froms=True).where(second == below))


def _key(kind: str) -> Any:
    listing = LISTINGS[kind]
    return listing.columns[listing.key]
