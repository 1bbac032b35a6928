"""The networks of a project as a tree that follows what happens: `:topology`, or `x` in the list of networks."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input

from tui import registry
from tui.locator import Locator
from tui.screens.acting import ActingScreen
from tui.verbs import GENERAL, Row, Verb
from tui.view import Cell, Lines
from tui.views.topology import VIEW, matching, object_of, opened_at_first, tree
from tui.widgets.bar import Bar, Prompt
from tui.widgets.lines import Line
from tui.widgets.pages import PAGE
from tui.widgets.table import RowList

if TYPE_CHECKING:
    from tui.app import Skydeck

_HERE = ("command", "filter", "back", "help", "messages", "menu", "refresh", "operations", "wide", "all_projects")

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


class TopologyScreen(ActingScreen):
    """What is folded is remembered by key, as the difference from how it began: what appears later begins likewise."""

    app: Skydeck
    view = VIEW
    trail_name = "Topology"

    def __init__(self) -> None:
        super().__init__()
        self._turned: set[str] = set()
        """Keys of what was folded or unfolded by hand."""
        self._lines: list[Row] = []
        self._filter = self._filter_before = ""
        self._wake = asyncio.Event()
        self.bind_verbs()

    def compose(self) -> ComposeResult:
        yield Line(id="header")
        yield Line(id="crumb")
        yield TreeList(now=self.app.seat.now, id="rows")
        yield Bar()

    def on_mount(self) -> None:
        self.app.rows_changed.subscribe(self, self._news)
        self.rows.use(VIEW.columns, key=VIEW.key, label=VIEW.name, sort="")
        self.rows.focus()
        self._draw()
        self._wake.set()
        self._follow()
        self.set_interval(1.0, self._draw)

    @property
    def rows(self) -> TreeList:
        return self.query_one(TreeList)

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

        ctx, text = self.app.seat.ctx, self._filter

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
        if self.is_attached and self.query(TreeList) and text == self._filter:
            self._take(lines)

    def _take(self, lines: list[Row]) -> None:
        rows, self._lines = self.rows, lines
        nothing: Lines = [[("No networks yet.", "head")], [(":networks, then n makes one.", "")]]
        if self._filter:
            nothing = [[(f"Nothing matches /{self._filter}", "")], [("Esc clears the filter.", "dim")]]
        rows.say([] if lines else nothing)
        stood = rows.cursor_id
        at = next((at for at, line in enumerate(lines) if line["key"] == stood), None)
        pages = {number: lines[number * PAGE : (number + 1) * PAGE] for number in range(-(-len(lines) // PAGE))}
        rows.show(len(lines), pages, at=at, asked_for=stood)
        self._draw()

    # ------------------------------------------------------------------ drawing

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        self.draw_header(self.app.header)
        ctx = self.app.seat.ctx if self.app.seat.ready else None
        where = "" if ctx is None else "all" if ctx.all_projects else ctx.project_name
        left: list[Cell] = [(f"Topology({where})", "head")]
        for kind, what in (("external", "ways out"), ("router", "routers"), ("network", "networks")):
            number = len({line["id"] for line in self._lines if line["kind"] == kind})
            left.append((f"   {what} {number}", "" if number else "dim"))
        if self._filter:
            left.append((f"   /{self._filter}", "key"))
        self.query_one("#crumb", Line).show(left)
        self.rows.sync()
        if not self.query_one(Bar).typing:
            self.draw_keys()
        row = self.under_cursor()
        self.query_one(Bar).status([(row["id"] if row else "", "dim")], [("q", "key"), (" back", "dim")])

    @on(RowList.Moved)
    def _moved(self) -> None:
        self._draw()

    @on(RowList.Opened)
    def _opened(self) -> None:
        self.action_do("open")

    def on_resize(self) -> None:
        self._draw()

    # ------------------------------------------------------------------ filtering

    def go_filter(self, row: Row | None) -> None:
        self._filter_before = self._filter
        bar = self.query_one(Bar)
        bar.prompt("/", self._filter)
        bar.suggest([("words of names and addresses, folded or not", "dim")])

    @on(Input.Changed, "#prompt")
    def _typed(self, event: Input.Changed) -> None:
        self._narrow(event.value.strip())

    @on(Prompt.Left)
    def _left(self) -> None:
        self._narrow(self._filter_before)
        self._end_typing()

    @on(Input.Submitted, "#prompt")
    def _end_typing(self) -> None:
        self.query_one(Bar).close_prompt()
        self.set_focus(self.rows)
        self._draw()

    def _narrow(self, text: str) -> None:
        self._filter = text
        self._wake.set()

    # ------------------------------------------------------------------ folding

    def _turn(self, *keys: str) -> None:
        if self._filter:
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
            self.rows.stand_on(row["key"].rpartition("/")[0])

    def go_unfold_all(self, row: Row | None) -> None:
        self._turn(*(line["key"] for line in self._lines if line["open"] is False))

    def go_fold_all(self, row: Row | None) -> None:
        self._turn(*(line["key"] for line in self._lines if line["open"]))

    # ------------------------------------------------------------------ verbs

    def under_cursor(self) -> Row | None:
        return self.rows.row

    def general(self) -> Sequence[Verb]:
        kept = [verb for verb in GENERAL if verb.name in _HERE]
        back = next(verb for verb in kept if verb.name == "back")
        kept = [dataclasses.replace(verb, help=_HELP.get(verb.name, verb.help)) for verb in kept]
        return (*kept, dataclasses.replace(back, name="escape", key="escape", shown_key="Esc"))

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

    def go_back(self, row: Row | None) -> None:
        if self._filter:
            self._narrow("")
        else:
            self.dismiss()

    def go_refresh(self, row: Row | None) -> None:
        self._wake.set()

    def go_wide(self, row: Row | None) -> None:
        self.rows.toggle_wide()

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
