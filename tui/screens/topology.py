"""The networks of a project as a tree that follows what happens: `:topology`, or `x` in the list of networks."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

from textual import work
from textual.binding import Binding

from tui import registry
from tui.finding.linear import LinearScreen
from tui.locator import Locator
from tui.verbs import Reason, Row, Verb
from tui.view import Cell, Lines
from tui.views.topology import VIEW, matching, object_of, opened_at_first, tree
from tui.widgets.table import RowList

_HELP = {"wide": "All columns", "filter": "Filter as you type: words of names and addresses"}
"""Where it does less than in a list."""


class TreeList(RowList):
    """A list whose lines fold: `←` and `→` are for that, instead of for columns."""

    BINDINGS = [
        Binding("right,l", "screen.fold(False)", "unfold", id="tree.unfold", show=False),
        Binding("left,h", "screen.fold(True)", "fold", id="tree.fold", show=False),
        Binding("space", "screen.do('open')", "fold or unfold", id="tree.toggle", show=False),
    ]

    def stand_on(self, key: str) -> None:
        """Move to the line with this key, when it is there."""
        if (at := self.pages.find(key, self.key)) is not None:
            self._go(at)


class TopologyScreen(LinearScreen):
    """What is folded is remembered by key, as the difference from how it began: what appears later begins likewise."""

    view = VIEW
    trail_name = "Topology"
    HERE = frozenset(
        {"command", "filter", "back", "help", "messages", "menu", "refresh", "operations", "wide", "all_projects"}
    )
    LIST = TreeList
    FILTERS = "words of names and addresses, folded or not"

    def __init__(self) -> None:
        super().__init__()
        self._turned: set[str] = set()
        """Keys of what was folded or unfolded by hand."""
        self._lines: list[Row] = []
        """As they were read: folded, or what the filter finds."""
        self._wake = asyncio.Event()

    def on_mount(self) -> None:
        super().on_mount()
        self.app.rows_changed.subscribe(self, self._news)
        self._wake.set()
        self._follow()

    # ------------------------------------------------------------------ reading

    def _news(self, _: object) -> None:
        self._wake.set()

    def acted(self) -> None:
        self._wake.set()

    @work(group="follow", exclusive=True)
    async def _follow(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self.app.seat.ready:
                await self._look()

    def _is_open(self, key: str, kind: str) -> bool:
        return opened_at_first(kind) != (key in self._turned)

    async def _look(self) -> None:
        from core.errors import SkydeckError

        ctx, text = self.app.seat.ctx, self.filtered

        def read(session: Any) -> list[Row]:
            if text:
                return matching(tree(session, ctx, lambda key, kind: True), text)
            return tree(session, ctx, self._is_open)

        try:
            lines = await self.app.seat.read(read)
        except SkydeckError as bad:
            self.app.tell(bad.title, bad.hint, tone="bad")
            return
        except Exception as bad:  # noqa: BLE001  the loop's edge: a store in trouble must not end the app
            self.app.tell(f"the store cannot be read: {str(bad).splitlines()[0]}", "It is tried again.", tone="bad")
            return
        if self.is_attached and text == self.filtered:
            self._lines = lines
            self.show_lines()

    # ------------------------------------------------------------------ what is drawn

    def lines(self) -> list[Row]:
        return self._lines

    def narrowed(self, words: Sequence[str]) -> list[Row]:
        return self._lines

    def nothing(self) -> Lines:
        return [[("No networks yet.", "head")], [(":networks, then n makes one.", "")]]

    def crumb(self) -> tuple[list[Cell], list[Cell]]:
        ctx = self.app.seat.ctx if self.app.seat.ready else None
        where = "" if ctx is None else "all" if ctx.all_projects else ctx.project_name
        left: list[Cell] = [(f"Topology({where})", "head")]
        for kind, what in (("external", "ways out"), ("router", "routers"), ("network", "networks")):
            number = len({line["id"] for line in self._lines if line["kind"] == kind})
            left.append((f"   {what} {number}", "" if number else "dim"))
        return left, []

    def status(self) -> tuple[list[Cell], list[Cell]]:
        row = self.under_cursor()
        return [(row["id"] if row else "", "dim")], [("q", "key"), (" back", "dim")]

    def is_object(self, row: Row) -> Reason | None:
        return None

    def narrow(self, text: str) -> None:
        self.filtered = text
        self._wake.set()

    # ------------------------------------------------------------------ folding

    def _turn(self, *keys: str) -> None:
        if self.filtered:
            self.app.tell("what a filter finds is unfolded", "Esc clears the filter.", tone="warn")
            return
        self._turned ^= set(keys)
        self._wake.set()

    def action_fold(self, fold: bool) -> None:
        """Fold or unfold the line; what is folded already, or cannot be, leads one level up."""
        row = self.under_cursor()
        if row is None:
            return
        if row["open"] is fold:
            self._turn(row["key"])
        elif fold and "/" in row["key"]:
            self.query_one(TreeList).stand_on(row["key"].rpartition("/")[0])

    def go_unfold_all(self, row: Row | None) -> None:
        self._turn(*(line["key"] for line in self._lines if line["open"] is False))

    def go_fold_all(self, row: Row | None) -> None:
        self._turn(*(line["key"] for line in self._lines if line["open"]))

    # ------------------------------------------------------------------ verbs

    def general(self) -> Sequence[Verb]:
        return [dataclasses.replace(verb, help=_HELP.get(verb.name, verb.help)) for verb in super().general()]

    def go_open(self, row: Row | None) -> None:
        assert row is not None
        if row["open"] is not None:
            self._turn(row["key"])
        elif row["kind"] == "more":
            self.dismiss()
            self.app.browser.go_to(Locator(kind="port"))
        elif row["server"]:
            self._detail("instance", row["server"], "")
        else:
            self._detail(*object_of(row), "")

    def go_describe(self, row: Row | None) -> None:
        assert row is not None
        self._detail(*object_of(row), "")

    def go_yaml(self, row: Row | None) -> None:
        assert row is not None
        self._detail(*object_of(row), "YAML")

    def go_events(self, row: Row | None) -> None:
        assert row is not None
        self._detail(*object_of(row), "Events")

    @work(group="detail", exclusive=True)
    async def _detail(self, kind: str, key: str, tab: str) -> None:
        from core import listing as lists
        from core.errors import SkydeckError
        from tui.screens.detail import DetailScreen

        seat = self.app.seat
        ctx, listing = seat.ctx, seat.listings[kind]

        def read(session: Any) -> Row | None:
            return lists.one(session, ctx, listing, key)

        try:
            row = await seat.read(read)
        except SkydeckError as bad:
            self.app.tell(bad.title, bad.hint, tone="bad")
            return
        if row is None:
            self.app.tell("it is gone", tone="warn")
        else:
            self.app.push_screen(DetailScreen(registry.VIEWS[kind], row, tab))

    def go_refresh(self, row: Row | None) -> None:
        self._wake.set()

    def go_all_projects(self, row: Row | None) -> None:
        self.app.browser.go_all_projects(None)
        self._turned.clear()
        self.rows.restart()
        self._wake.set()

    def go_command(self, row: Row | None) -> None:
        """Where to go from here is typed where lists are."""
        self.dismiss()
        self.app.browser.go_command(None)

    def go_operations(self, row: Row | None) -> None:
        self.dismiss()
        self.app.browse("operation")
