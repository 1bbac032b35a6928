"""What the browser reads at each look, in one snapshot of the store: rows in sight, the cursor's place, the header.

Plain data in, plain data out, no widgets: it runs on the reading thread.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from tui.banner import RECENT
from tui.verbs import Row
from tui.view import Cell
from tui.widgets.pages import PAGE

DOWN = 20
"""Hosts that went away at once, of which more are not counted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """A question: which rows, in which order, and where the person is."""

    kind: str
    where: dict[str, str]
    text: str
    sort: str
    pages: tuple[int, ...]
    cursor: int
    cursor_id: str | None
    top: int
    height: int
    marks: tuple[str, ...]
    empty: Callable[[Any, Any], Sequence[Cell]]
    header: bool
    """Whether to count the project's use again: sums over all its instances."""
    tasks: int
    """How many operations to show below the list."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
    """What the top line tells of the project, and the bottom line of its work."""

    vcpus: tuple[int, int]
    """(used, limit); limit -1: unlimited."""
    ram_mb: tuple[int, int]
    instances: tuple[int, int]
    gigabytes: tuple[int, int]
    """Of volumes and their snapshots."""
    engine: bool
    """Whether an engine is at work."""
    down: tuple[tuple[str, str], ...]
    """Hosts that went away lately, and why; for those who may see hosts."""
    running: int
    """Operations not yet ended."""
    blocked: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Glance:
    """The answer."""

    count: int
    total: int
    """Rows without the filter."""
    pages: dict[int, list[Row]]
    at: int | None
    """Where the cursor's object is now; None: it is gone."""
    living: set[str]
    """Which of the marks still exist."""
    notice: tuple[Cell, ...]
    header: Header | None
    seconds: float
    """What reading the header took."""
    tasks: tuple[Row, ...]


def look(session: Any, ctx: Any, listings: dict[str, Any], wanted: Wanted) -> Glance:
    """Read all of it. Raises Invalid for a column or a value the filter cannot mean, Forbidden."""
    from core import listing as lists

    listing = listings[wanted.kind]
    chosen: dict[str, Any] = {"where": wanted.where, "text": wanted.text}
    order: dict[str, Any] = {**chosen, "sort": wanted.sort or None}
    count = lists.count(session, ctx, listing, **chosen)
    filtered = bool(wanted.where or wanted.text)
    pages: dict[int, list[Row]] = {}

    def fetch(first: int, last: int) -> None:
        for number in range(max(0, first) // PAGE, max(0, min(last, count - 1)) // PAGE + 1):
            if number not in pages and count:
                pages[number] = lists.window(session, ctx, listing, offset=number * PAGE, limit=PAGE, **order)

    def stands(index: int) -> bool:
        rows = pages.get(index // PAGE, [])
        return index % PAGE < len(rows) and rows[index % PAGE][listing.key] == wanted.cursor_id

    fetch(wanted.top, wanted.top + wanted.height)
    for number in wanted.pages:
        fetch(number * PAGE, number * PAGE)
    at: int | None = None
    if wanted.cursor_id is not None:
        if stands(wanted.cursor):
            at = wanted.cursor
        else:
            at = _find(session, ctx, listing, wanted.cursor_id, pages, order)
            if at is not None:
                # The list will scroll along with the object: read what will be in sight then.
                top = wanted.top + at - wanted.cursor
                fetch(top - 1, top + wanted.height)
                if not stands(at):
                    # Empty values do not compare; the whole order does.
                    keys = lists.keys(session, ctx, listing, **order)
                    at = keys.index(wanted.cursor_id) if wanted.cursor_id in keys else None
    operations = listings["operation"]
    began = time.monotonic()
    header = _header(session, ctx, operations) if wanted.header else None
    return Glance(
        count=count,
        total=lists.count(session, ctx, listing) if filtered else count,
        pages=pages,
        at=at,
        living=lists.present(session, ctx, listing, wanted.marks) if wanted.marks else set(),
        notice=() if count or filtered else tuple(wanted.empty(session, ctx)),
        header=header,
        seconds=time.monotonic() - began,
        tasks=tuple(lists.page(session, ctx, operations, limit=wanted.tasks)) if wanted.tasks else (),
    )


def _find(
    session: Any, ctx: Any, listing: Any, key: str, pages: dict[int, list[Row]], order: dict[str, Any]
) -> int | None:
    from core import listing as lists

    for number, rows in pages.items():
        for index, row in enumerate(rows):
            if row[listing.key] == key:
                return number * PAGE + index
    return lists.position(session, ctx, listing, key, **order)


def _header(session: Any, ctx: Any, operations: Any) -> Header:
    from core import cloud
    from core import listing as lists
    from core.identity import quotas

    limits = quotas.limits(session, ctx.project_id)

    def use(resource: str) -> tuple[int, int]:
        return quotas.used(session, ctx.project_id, resource), limits[resource]

    by_state = {
        state: lists.count(session, ctx, operations, where={"state": state})
        for state in ("ready", "running", "blocked")
    }
    return Header(
        vcpus=use("cores"),
        ram_mb=use("ram"),
        instances=use("instances"),
        gigabytes=use("gigabytes"),
        engine=cloud.engine_alive(session),
        down=_hosts_down(session, ctx),
        running=by_state["ready"] + by_state["running"],
        blocked=by_state["blocked"],
    )


def _hosts_down(session: Any, ctx: Any) -> tuple[tuple[str, str], ...]:
    from core.errors import Forbidden
    from core.hosts import hosts

    try:
        return hosts.went_down(session, ctx, within=RECENT, limit=DOWN)
    except Forbidden:
        return ()
