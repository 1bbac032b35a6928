"""nft tables as values: what a table holds, the commands that make it so, and those that lead from one to another.

All are one transaction, but that is not enough to lose no packet: one that is under way in the old rules when they
are replaced looks an old map up by the new generation, in which it has no elements, and is dropped as a stranger (seen
once in 60 replacements at 500 packets a second). So sets and maps stay where they are and get what differs, also where
every rule is put anew; a table is deleted only when there is no other way. For the same reason no rule has a map of
its own, without a name: it goes with its rule.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from hostd.network.nft import Json

Rule = Json
"""`expr`, and perhaps `comment`."""

_UNKNOWN: Final[Rule] = {"expr": []}
"""Stands for rules that were not compared: it equals none of ours."""
_HOOK: Final = ("type", "hook", "prio", "policy")


@attrs.frozen(kw_only=True)
class Chain:
    rules: tuple[Rule, ...] = ()
    hook: Json = attrs.field(factory=dict)
    """Type, hook, priority and policy; empty for a chain that is jumped to."""


@attrs.frozen(kw_only=True)
class Collection:
    """A set; or, where `value` is given, a map."""

    key: str | tuple[str, ...]
    value: str | None = None
    interval: bool = False
    elements: tuple[object, ...] = ()
    """As JSON; of a map, pairs of key and value."""

    @property
    def kind(self) -> str:
        return "set" if self.value is None else "map"

    def definition(self) -> Json:
        made: Json = {"type": list(self.key) if isinstance(self.key, tuple) else self.key}
        if self.value is not None:
            made["map"] = self.value
        if self.interval:
            made["flags"] = ["interval"]
        return made


@attrs.frozen(kw_only=True)
class Table:
    family: str
    name: str
    collections: Mapping[str, Collection]
    chains: Mapping[str, Chain]

    @property
    def id(self) -> tuple[str, str]:
        return self.family, self.name


def digest(tables: Iterable[Table]) -> str:
    """16 hex digits that name this content."""
    held = [
        [*table.id, [[name, one.definition(), one.elements] for name, one in table.collections.items()],
         [[name, one.hook, one.rules] for name, one in table.chains.items()]]
        for table in tables
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(held).encode()).hexdigest()[:16]


def marked(table: Table, name: str) -> Table:
    """The table with an empty chain of this name: a mark that is loaded with it, and costs one small query."""
    return attrs.evolve(table, chains={**table.chains, name: Chain()})


def replacement(tables: Iterable[Table]) -> list[Json]:
    """Commands that put the tables, wholly anew, in the place of whatever stands there."""
    commands: list[Json] = []
    for table in tables:
        whole = {"table": {"family": table.family, "name": table.name}}
        # Adding first makes the deletion right where there is none yet.
        commands += [{"add": whole}, {"delete": whole}, {"add": whole}]
        commands += _made(table, table.collections, table.chains)
        for name, collection in table.collections.items():
            commands += _elements("add", table, name, collection.elements)
    return commands


def listed(family: str, name: str, items: Iterable[Json]) -> Table:
    """A table out of its listing, to take a difference from: its rules, which nft may list in other words than it was
    given, count as unknown."""
    collections: dict[str, Collection] = {}
    chains: dict[str, Chain] = {}
    for item in items:
        found = item.get("set") or item.get("map")
        if found is not None:
            key = found["type"]
            collections[found["name"]] = Collection(
                key=tuple(key) if isinstance(key, list) else key,
                value=found.get("map"),
                interval="interval" in found.get("flags", ()),
                elements=tuple(found.get("elem", ())),
            )
        elif "chain" in item:
            hook = {field: item["chain"][field] for field in _HOOK if field in item["chain"]}
            chains[item["chain"]["name"]] = Chain(rules=(_UNKNOWN,), hook=hook)
    return Table(family=family, name=name, collections=collections, chains=chains)


def removal(tables: Iterable[tuple[str, str]]) -> list[Json]:
    """Commands that take away tables (family, name) that are there."""
    return [{"delete": {"table": {"family": family, "name": name}}} for family, name in tables]


def difference(old: Sequence[Table], new: Sequence[Table]) -> list[Json] | None:
    """Commands that lead from what stands to what shall; None when only a replacement does."""
    if [table.id for table in old] != [table.id for table in new]:
        return None
    commands: list[Json] = []
    for before, after in zip(old, new, strict=True):
        for name, chain in after.chains.items():
            if name in before.chains and before.chains[name].hook != chain.hook:
                return None
        for name, collection in after.collections.items():
            if name in before.collections and before.collections[name].definition() != collection.definition():
                return None
        commands += _changed(before, after)
    return commands


def narrowed(old: Sequence[Table], new: Sequence[Table]) -> bool:
    """Whether anything was taken away: then something may pass no longer. Marks do not count, being empty."""
    names = [table.id for table in new]
    for before in old:
        if before.id not in names:
            return True
        after = new[names.index(before.id)]
        for name, collection in before.collections.items():
            kept = after.collections.get(name)
            if _missing(collection.elements, kept.elements if kept is not None else ()):
                return True
        for name, chain in before.chains.items():
            there = after.chains.get(name, Chain()).rules
            if there[: len(chain.rules)] != chain.rules and any(rule not in there for rule in chain.rules):
                return True
    return False


def gained(old: Sequence[Table], new: Sequence[Table], name: str) -> bool:
    """Whether a set or map of this name has elements it had not."""
    before = {table.id: table.collections[name].elements for table in old if name in table.collections}
    return any(
        _missing(table.collections[name].elements, before.get(table.id, ()))
        for table in new
        if name in table.collections
    )


def _made(table: Table, collections: Mapping[str, Collection], chains: Mapping[str, Chain]) -> Iterator[Json]:
    for name, collection in collections.items():
        yield {"add": {collection.kind: {**_part(table), "name": name, **collection.definition()}}}
    # All chains before any rule: rules jump to them.
    for name, chain in chains.items():
        yield {"add": {"chain": {**_part(table), "name": name, **chain.hook}}}
    for name, chain in chains.items():
        for rule in chain.rules:
            yield {"add": {"rule": {**_part(table), "chain": name, **rule}}}


def _changed(before: Table, after: Table) -> Iterator[Json]:
    """In an order in which nothing is named before it is there, or taken away while it is named."""
    part = _part(after)
    gone = [name for name in before.chains if name not in after.chains]
    new = {name: chain for name, chain in after.chains.items() if name not in before.chains}
    for name, collection in after.collections.items():
        if name not in before.collections:
            yield {"add": {collection.kind: {**part, "name": name, **collection.definition()}}}
    for name, chain in new.items():
        yield {"add": {"chain": {**part, "name": name, **chain.hook}}}
    for name in gone:
        if before.chains[name].rules:
            yield {"flush": {"chain": {**part, "name": name}}}
    for name, chain in after.chains.items():
        stood = before.chains.get(name, Chain()).rules
        if chain.rules == stood:
            continue
        # Rules that only follow those that stand are added alone: the others keep their counters.
        follows = chain.rules[: len(stood)] == stood
        if not follows:
            yield {"flush": {"chain": {**part, "name": name}}}
        for rule in chain.rules[len(stood) if follows else 0 :]:
            yield {"add": {"rule": {**part, "chain": name, **rule}}}
    for name, collection in before.collections.items():
        kept = after.collections.get(name)
        gone_here = _missing(collection.elements, kept.elements if kept is not None else ())
        yield from _elements("delete", after, name, gone_here)
    for name, collection in after.collections.items():
        there = before.collections.get(name)
        new_here = _missing(collection.elements, there.elements if there is not None else ())
        yield from _elements("add", after, name, new_here)
    for name in gone:
        yield {"delete": {"chain": {**part, "name": name}}}
    for name, collection in before.collections.items():
        if name not in after.collections:
            yield {"delete": {collection.kind: {**part, "name": name}}}


def _elements(verb: str, table: Table, name: str, elements: Sequence[object]) -> Iterator[Json]:
    if elements:
        yield {verb: {"element": {**_part(table), "name": name, "elem": list(elements)}}}


def _part(table: Table) -> Json:
    return {"family": table.family, "table": table.name}


def _missing(elements: Sequence[object], among: Sequence[object]) -> list[object]:
    """Those of the elements that are not among the others."""
    if elements == among:
        return []
    there = {json.dumps(element) for element in among}
    return [element for element in elements if json.dumps(element) not in there]
