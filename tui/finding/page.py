"""The page of an object that tells what depends on it, and what it belongs to."""

from __future__ import annotations

from typing import Any

from tui import registry
from tui.finding.lines import about
from tui.verbs import Row
from tui.view import Lines, Tab
from tui.widgets.lines import fit

SHOWN = 12
"""Objects of a group: `u` shows them all, and goes on from there."""


NOTE = 36
"""Cells of what is said of each: a line has room for that at 80 columns."""


def used_by(kind: str) -> Tab:
    """The tab, for objects of that noun."""

    def read(session: Any, ctx: Any, row: Row, now: int) -> Lines:
        return lines(session, ctx, kind, row, now)

    return Tab(title="Used by", read=read)


def lines(session: Any, ctx: Any, kind: str, row: Row, now: int) -> Lines:
    """Owners in one line, then a block for each way in which something depends on it."""
    from core import relations
    from core.lists import LISTINGS

    page: Lines = []
    owners = relations.owners(session, ctx, kind, row)
    if owners:
        way = " < ".join(f"{kin.kind.replace('_', ' ')} {_called(kin.kind, kin.row)}" for kin in owners)
        page += [[("belongs to   ", "dim"), (way, "")], [("J", "key"), (" opens it", "dim")], [("", "")]]
    groups = relations.used_by(session, ctx, kind, row[LISTINGS[kind].key], limit=SHOWN)
    if not groups:
        return [*page, [("Nothing depends on it.", "dim")]]
    for group in groups:
        elsewhere = f", {group.elsewhere} in other projects" if group.elsewhere else ""
        page.append([(group.title.capitalize(), "head"), (f"  {group.count}{elsewhere}", "dim")])
        for one in group.rows:
            (status, tone), note = about(group.kind, one, now)
            name = fit(_called(group.kind, one), 24)
            page.append([(f"  {name} ", ""), (f"{status:<11} ", tone), (fit(note, NOTE).rstrip(), "dim")])
        if group.count > len(group.rows):
            page.append([(f"  … {group.count - len(group.rows)} more: ", "dim"), ("u", "key"), (" shows them", "dim")])
        page.append([("", "")])
    return page[:-1]


def _called(kind: str, row: Row) -> str:
    from core.lists import LISTINGS

    view = registry.VIEWS.get(kind)
    listing = LISTINGS[kind]
    name = str(row[view.name if view is not None else listing.name] or "")
    return name or str(row.get("label") or str(row[listing.key])[:8])
