"""What an object belongs to and what depends on it, as a tree that follows what happens: `u` and `t`."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import work
from textual.binding import Binding

from tui import registry
from tui.finding import opening
from tui.finding.linear import LinearScreen
from tui.finding.lines import GROUP, OBJECT, PART, REST, Asked, matching, read
from tui.finding.trail import trail
from tui.locator import ALL, Locator
from tui.screens.topology import TreeList
from tui.verbs import COPY, DESCRIBE, EVENTS, OPEN, YAML, Needs, Reason, Row, Verb
from tui.view import Cell, Column, View

if TYPE_CHECKING:
    from tui.app import Skydeck


SHARE = 10


def _there(ctx: object, row: Row) -> Reason | None:
    return None if row["line"] == OBJECT else ("that is no object", "Move to one first.")


def _name(row: Row, now: int) -> Cell:
    sign = {True: "▾ ", False: "▸ ", None: "  "}[row["open"]]
    tone = "head" if row["subject"] else "key" if row["line"] == GROUP else "dim" if row["line"] == REST else ""
    return f"{'  ' * row['depth']}{sign}{row['name']}", tone


def _fold(name: str, key: str, shown: str, help: str) -> Verb:
    return Verb(
        name=name, key=key, shown_key=shown, label=name.split("_")[0], help=help, needs=Needs.NOTHING, action=name
    )


VIEW = View(
    kind="kin",
    title="Kin",
    aliases=("kin",),
    columns=(
        Column(title="NAME", width=30, grow=24, cell=_name),
        Column(title="WHAT", width=12, grow=8, cell=lambda row, now: (row["what"], "dim")),
        Column(title="STATUS", width=11, cell=lambda row, now: row["status"]),
        Column(title="ABOUT", width=12, grow=60, cell=lambda row, now: (row["note"], "dim")),
        Column(title="ID", width=8, cell=lambda row, now: (str(row["id"])[:8], "dim"), wide=True),
    ),
    verbs=(
        dataclasses.replace(OPEN, help="Open it; of a group its list"),
        dataclasses.replace(DESCRIBE, disabled_reason=_there),
        _fold("fold_all", "minus", "-", "Fold everything"),
        _fold("unfold_all", "plus", "+", "Unfold one more level"),
        dataclasses.replace(EVENTS, disabled_reason=_there),
        dataclasses.replace(YAML, disabled_reason=_there),
        dataclasses.replace(COPY, disabled_reason=_there),
    ),
    key="key",
    sort="",
    copies=("id", "name"),
)
"""Not a list of the registry: it has no listing, and a screen of its own."""


class KinList(TreeList):
    """Its Space folds; Enter opens."""

    BINDINGS = [Binding("space", "screen.turn_over", "fold or unfold", id="kin.toggle", show=False)]


class KinScreen(LinearScreen):
    """What is folded is remembered by key, as the difference from how it began."""

    app: Skydeck
    view = VIEW
    HERE = LinearScreen.HERE | {"all_projects", "messages"}
    LIST = KinList

    def __init__(self, view: View, row: Row, *, up: bool = False) -> None:
        """Of an object of that view. `up`: with what it belongs to."""
        self.about = registry.VIEWS[view.kind]
        self._row = row
        self._up = up
        self._turned: frozenset[str] = frozenset()
        self._lines: list[Row] = []
        self._gone = False
        self._began = False
        self._owed = False
        """Whether it is to be read again soon."""
        self._cost = 0.0
        """Seconds that reading took."""
        self._wake = asyncio.Event()
        super().__init__()

    @property
    def trail_name(self) -> str:
        """In the title line of what is opened from here."""
        return f"{'tree' if self._up else 'used by'} of {self._called}"

    @property
    def _called(self) -> str:
        return str(self._row.get(self.about.name) or "") or str(self._row[self.about.key])[:8]

    def on_mount(self) -> None:
        self.app.rows_changed.subscribe(self, self._news)
        super().on_mount()
        self._wake.set()
        self._follow()

    # ------------------------------------------------------------------ reading

    def _news(self, _: object) -> None:
        """Something changed somewhere. What depends on a host of thousands takes a while to count: no oftener than one
        part in SHARE of the time goes into it."""
        if not self._owed:
            self._owed = True
            self.set_timer(max(0.01, SHARE * self._cost), self._wake.set)

    def acted(self) -> None:
        self._wake.set()

    @work(group="follow", exclusive=True)
    async def _follow(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._look()

    async def _look(self) -> None:
        from core.errors import SkydeckError

        seat = self.app.seat
        ctx, now = seat.ctx, seat.now()
        began, self._owed = time.monotonic(), False
        asked = Asked(kind=self.about.kind, key=self._row[self.about.key], up=self._up, turned=self._turned)
        try:
            lines = await seat.read(lambda session: read(session, ctx, asked, now))
        except SkydeckError as bad:
            self.app.tell(bad.title, bad.hint, tone="bad")
            return
        except Exception as bad:  # noqa: BLE001  the loop's edge: a store in trouble must not end the app
            self.app.tell(f"the store cannot be read: {str(bad).splitlines()[0]}", "It is tried again.", tone="bad")
            return
        self._cost = time.monotonic() - began
        if asked.turned != self._turned:
            return
        self._gone = lines is None
        self._lines = lines if lines is not None else self._lines
        if self._lines and not self._began:
            self._began = True
            self.stand_first_on(next(line["key"] for line in self._lines if line["subject"]))
        self.show_lines()

    # ------------------------------------------------------------------ what there is

    def lines(self) -> list[Row]:
        return self._lines

    def narrowed(self, words: Sequence[str]) -> list[Row]:
        return matching(self._lines, lambda line: all(word in _text(line) for word in words))

    def is_object(self, row: Row) -> Reason | None:
        return _there(None, row)

    def crumb(self) -> tuple[list[Cell], list[Cell]]:
        behind = trail(self)
        if behind and behind[-1][0] == f"{self._called} > ":
            behind.pop()  # its own page is the one behind
        left: list[Cell] = [*behind, (self._called, "head"), (f"   {'tree' if self._up else 'used by'}", "key")]
        subject = next((line for line in self._lines if line["subject"]), None)
        if self._gone:
            left.append(("   gone", "bad"))
        elif subject is not None and not any(line["key"].startswith(f"{subject['key']}{PART}") for line in self._lines):
            left.append(("   folded" if subject["open"] is False else "   nothing depends on it", "dim"))
        return left, []

    def status(self) -> tuple[list[Cell], list[Cell]]:
        row = self.under_cursor()
        keys: list[Cell] = [("← →", "key"), (" fold  ", "dim"), ("u t J", "key"), (" from here  ", "dim")]
        return [(str(row["id"]) if row else "", "dim")], [*keys, ("q", "key"), (" back", "dim")]

    # ------------------------------------------------------------------ folding

    def _turn(self, *keys: str) -> None:
        self._turned ^= frozenset(keys)
        self._wake.set()

    def action_fold(self, fold: bool) -> None:
        """Fold or unfold the line; what is folded already, or cannot be, leads one level up."""
        row = self.under_cursor()
        if row is None:
            return
        if row["open"] is fold:
            self._turn(row["key"])
        elif fold and PART in row["key"]:
            self.query_one(KinList).stand_on(row["key"].rpartition(PART)[0])

    def action_turn_over(self) -> None:
        row = self.under_cursor()
        if row is not None and row["open"] is not None:
            self._turn(row["key"])

    def go_unfold_all(self, row: Row | None) -> None:
        self._turn(*(line["key"] for line in self._lines if line["open"] is False))

    def go_fold_all(self, row: Row | None) -> None:
        self._turn(*(line["key"] for line in self._lines if line["open"] and not line["subject"]))

    # ------------------------------------------------------------------ verbs

    def go_open(self, row: Row | None) -> None:
        assert row is not None
        if row["line"] == OBJECT:
            opening.show(self.app, row["kind"], row["row"])
        elif row["elsewhere"]:
            opening.show_list(self.app, Locator(kind=row["kind"], project=ALL, filter=row["filter"]))
        elif row["filter"] and row["kind"] in registry.VIEWS:
            opening.show_list(self.app, Locator(kind=row["kind"], filter=row["filter"]))
        else:
            self.action_turn_over()

    def go_describe(self, row: Row | None) -> None:
        self._page(row, "")

    def go_yaml(self, row: Row | None) -> None:
        self._page(row, "YAML")

    def go_events(self, row: Row | None) -> None:
        self._page(row, "Events")

    def _page(self, row: Row | None, tab: str) -> None:
        assert row is not None
        opening.show(self.app, row["kind"], row["row"], tab=tab)

    def go_used_by(self, row: Row | None) -> None:
        self._again(row, up=False)

    def go_tree(self, row: Row | None) -> None:
        self._again(row, up=True)

    def _again(self, row: Row | None, *, up: bool) -> None:
        """The same about another object; about this one, seen the other way, in its place."""
        assert row is not None
        view = registry.VIEWS.get(row["kind"])
        if view is None:
            self.app.tell(f"there is no page about a {opening.said(row['kind'])}", tone="warn")
        elif row["subject"]:
            self.app.switch_screen(KinScreen(view, row["row"], up=up))
        else:
            self.app.push_screen(KinScreen(view, row["row"], up=up))

    def go_owner(self, row: Row | None) -> None:
        assert row is not None
        if (view := registry.VIEWS.get(row["kind"])) is not None:
            opening.owner(self.app, view, row["row"])

    def go_refresh(self, row: Row | None) -> None:
        self._wake.set()

    def go_all_projects(self, row: Row | None) -> None:
        self.app.browser.go_all_projects(None)
        self._wake.set()


def _text(line: Row) -> str:
    return f"{line['name']} {line['what']} {line['status'][0]} {line['note']} {line['id']}".lower()
