"""What a noun declares, once, for all its lists and shows: headers as openstack's client writes them, where each value
comes from, and how a person and a program read it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from tui import text

Row = dict[str, Any]


def plain(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key}='{shown}'" for key, shown in sorted(value.items()))
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(each) for each in value)
    return str(value)


def same(value: Any) -> Any:
    return value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a list, or one field of a show."""

    header: str
    """As openstack's client calls it; the key in JSON."""
    source: str | Callable[[Row], Any]
    """The listing's column, or a function of the row."""
    human: Callable[[Any], str] = plain
    """For tables. Several lines are allowed."""
    machine: Callable[[Any], Any] = same
    """For json, yaml, csv and value: plain data."""
    long: bool = False
    """Listed with --long, or when asked for by -c."""
    right: bool = False
    """Numbers stand right."""

    def value(self, row: Row) -> Any:
        return self.source(row) if callable(self.source) else row[self.source]

    def shown(self, row: Row) -> str:
        return self.human(self.value(row))

    def data(self, row: Row) -> Any:
        return self.machine(self.value(row))

    @property
    def sortable(self) -> str | None:
        """The listing's column that `--sort HEADER` means."""
        return self.source if isinstance(self.source, str) else None


def column(header: str, source: str | Callable[[Row], Any], **how: Any) -> Column:
    return Column(header=header, source=source, **how)


def long(header: str, source: str | Callable[[Row], Any], **how: Any) -> Column:
    """A column of --long."""
    return Column(header=header, source=source, long=True, **how)


def number(header: str, source: str | Callable[[Row], Any], **how: Any) -> Column:
    return Column(header=header, source=source, right=True, **how)


def moment(header: str, source: str, **how: Any) -> Column:
    """Microseconds since the epoch, written as a UTC time for people and programs alike."""
    return Column(header=header, source=source, human=lambda at: text.moment(at) or "", machine=text.moment, **how)


def up(header: str, source: str, **how: Any) -> Column:
    """admin_state_up: UP or DOWN for people."""
    return Column(header=header, source=source, human=lambda value: "UP" if value else "DOWN", **how)


def entries(header: str, source: str | Callable[[Row], Any], **how: Any) -> Column:
    """A list of documents: a line each, as openstack's client writes them."""
    return Column(header=header, source=source, human=_lines, **how)


def hops(header: str, source: str, **how: Any) -> Column:
    """Routes: a person reads their keys as `--route` takes them."""
    return Column(
        header=header,
        source=source,
        human=lambda routes: _lines([{"destination": to["destination"], "gateway": to["nexthop"]} for to in routes]),
        **how,
    )


def size(header: str, source: str, **how: Any) -> Column:
    """Bytes: `1.5 GiB` for people, the number for programs."""
    return Column(header=header, source=source, human=text.size, right=True, **how)


def document(header: str, source: str, **how: Any) -> Column:
    """Nested data a person reads as JSON."""
    return Column(header=header, source=source, human=_indented, **how)


def _lines(value: list[dict[str, Any]]) -> str:
    return "\n".join(plain(each) for each in value)


def _indented(value: Any) -> str:
    return "" if value is None else json.dumps(value, indent=2, ensure_ascii=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filter:
    """An option of a list that narrows it to rows whose column has a value."""

    option: str
    """`--status`; a flag's two ends, `--external/--internal`; for a positional one, what it is called: `GROUP`."""
    column: str
    """Of the listing."""
    help: str
    resolve: Callable[[Any, Any, str], str] = lambda session, ctx, given: given
    """(session, context, what was typed) to the column's value: a name to its id. Of a flag: true or false is typed."""
    flag: bool = False
    """The column is true at its one end, false at the other."""
    positional: bool = False
    """An argument that may be left out, as openstack's client has it for rules of a group."""

    @property
    def name(self) -> str:
        """The parameter's name; apart from the shared options' names."""
        return "where_" + self.option.partition("/")[0].removeprefix("--").replace("-", "_").lower()


def _nothing(session: Any, ctx: Any, rows: list[Row]) -> None:
    return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noun:
    """A kind of object, as commands list and show it."""

    kind: str
    """Key of core.lists.LISTINGS."""
    word: str
    """What a person calls it: `server`."""
    columns: tuple[Column, ...]
    """Of its list."""
    fields: tuple[Column, ...]
    """Of a single one."""
    find: Callable[[Any, Any, str], Row]
    """(session, context, id or name) to everything `fields` shows. Raises NotFound."""
    filters: tuple[Filter, ...] = ()
    fill: Callable[[Any, Any, list[Row]], None] = _nothing
    """(session, context, rows): adds to listed rows what the listing itself does not hold."""

    @property
    def metavar(self) -> str:
        return self.word.upper().replace(" ", "-")


def listed(session: Any, ctx: Any, kind: str, key: Any) -> Row:
    """An object's row as its listing has it, in whatever project the verb that found it may look."""
    from core import listing
    from core.errors import NotFound
    from core.lists import LISTINGS

    wide = dataclasses.replace(ctx, all_projects=ctx.is_admin)
    row = listing.one(session, wide, LISTINGS[kind], key)
    if row is None:
        raise NotFound(f"no {kind} {key!r}", hint=f"skydeck {kind} list shows them.")
    return row
