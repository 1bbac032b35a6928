"""What an object belongs to and what depends on it, as a tree that follows what happens: `u` and `t`."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input

from tui import registry
from tui.finding import opening
from tui.finding.lines import GROUP, OBJECT, PART, REST, Asked, matching, read
from tui.finding.trail import trail
from tui.locator import ALL, Locator
from tui.screens.acting import ActingScreen
from tui.screens.topology import TreeList
from tui.verbs import COPY, DESCRIBE, EVENTS, GENERAL, OPEN, YAML, Needs, Reason, Row, Verb
from tui.view import Cell, Column, View
from tui.widgets.bar import Bar, Prompt
from tui.widgets.lines import Line
from tui.widgets.pages import PAGE
from tui.widgets.table import RowList

if TYPE_CHECKING:
    from typing import Any

    from tui.app import Skydeck

_HERE = frozenset(
    {
        *("filter", "back", "help", "messages", "menu", "refresh", "operations", "wide", "all_projects", "search"),
        *("used_by", "owner", "tree"),
    }
)


def _there(ctx: Any, row: Row) -> Reason | None:
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


class KinScreen(ActingScreen):
    """What is folded is remembered by key, as the difference from how it began."""

    app: Skydeck
    view = VIEW

    def __init__(self, view: View, row: Row, *, up: bool = False) -> None:
        """Of an object of that view. `up`: with what it belongs to."""
        super().__init__()
        self.about = registry.VIEWS[view.kind]
        self._row = row
        self._up = up
        self._turned: frozenset[str] = frozenset()
        self._lines: list[Row] = []
        self._filter = self._filter_before = ""
        self._gone = False
        self._began = False
        self._wake = asyncio.Event()
        self.bind_verbs()

    @property
    def trail_name(self) -> str:
        """In the trail of those that were opened from here."""
        name = str(self._row.get(self.about.name) or "") or str(self._row[self.about.key])[:8]
        return f"{'tree' if self._up else 'used by'} of {name}"

    def compose(self) -> ComposeResult:
        yield Line(id="header")
        yield Line(id="crumb")
        yield KinList(now=self.app.seat.now, id="rows")
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
            await self._look()

    async def _look(self) -> None:
        from core.errors import SkydeckError

        seat = self.app.seat
        ctx, now = seat.ctx, seat.now()
        asked = Asked(kind=self.about.kind, key=self._row[self.about.key], up=self._up, turned=self._turned)
        try:
            lines = await seat.read(lambda session: read(session, ctx, asked, now))
        except SkydeckError as bad:
            self.app.tell(bad.title, bad.hint, tone="bad")
            return
        except Exception as bad:  # noqa: BLE001  the loop's edge: a store in trouble must not end the app
            self.app.tell(f"the store cannot be read: {str(bad).splitlines()[0]}", "It is tried again.", tone="bad")
            return
        if self.is_attached and self.query(TreeList) and asked.turned == self._turned:
            self._take(lines)

    def _take(self, lines: list[Row] | None) -> None:
        self._gone = lines is None
        self._lines = lines if lines is not None else self._lines
        self._fill()

    def _fill(self) -> None:
        rows, lines = self.rows, self._lines
        if self._filter:
            words = self._filter.lower().split()
            lines = matching(lines, lambda line: all(word in _text(line) for word in words))
        rows.say([] if lines else [[(f"Nothing matches /{self._filter}", "")], [("Esc clears the filter.", "dim")]])
        stood = rows.cursor_id
        if not self._began and self._lines:
            self._began = True
            stood = next(line["key"] for line in self._lines if line["subject"])
            rows.fresh = False
            rows.cursor_id = stood
        at = next((at for at, line in enumerate(lines) if line["key"] == stood), None)
        pages = {number: lines[number * PAGE : (number + 1) * PAGE] for number in range(-(-len(lines) // PAGE))}
        rows.show(len(lines), pages, at=at, asked_for=stood)
        self._draw()

    # ------------------------------------------------------------------ drawing

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        self.draw_header(self.app.header)
        name = str(self._row.get(self.about.name) or "") or str(self._row[self.about.key])[:8]
        behind = trail(self)
        if behind and behind[-1][0] == f"{name} > ":
            behind.pop()  # its own page is the one behind
        left: list[Cell] = [*behind, (name, "head"), (f"   {'tree' if self._up else 'used by'}", "key")]
        groups = [line for line in self._lines if line["line"] == GROUP and line["depth"] == self._depth + 1]
        if self._gone:
            left.append(("   gone", "bad"))
        elif self._lines and not groups:
            left.append(("   nothing depends on it", "dim"))
        if self._filter:
            left.append((f"   /{self._filter}", "key"))
        self.query_one("#crumb", Line).show(left)
        self.rows.sync()
        if not self.query_one(Bar).typing:
            self.draw_keys()
        row = self.under_cursor()
        self.query_one(Bar).status(
            [(str(row["id"]) if row else "", "dim")],
            [
                ("← →", "key"),
                (" fold  ", "dim"),
                ("u t J", "key"),
                (" from here  ", "dim"),
                ("q", "key"),
                (" back", "dim"),
            ],
        )

    @property
    def _depth(self) -> int:
        """Of the object in question."""
        return next((line["depth"] for line in self._lines if line["subject"]), 0)

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
        bar.suggest([("words of what is unfolded", "dim")])

    @on(Input.Changed, "#prompt")
    def _narrowed(self, event: Input.Changed) -> None:
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
        self._fill()

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
            self.rows.stand_on(row["key"].rpartition(PART)[0])

    def action_turn_over(self) -> None:
        row = self.under_cursor()
        if row is not None and row["open"] is not None:
            self._turn(row["key"])

    def go_unfold_all(self, row: Row | None) -> None:
        self._turn(*(line["key"] for line in self._lines if line["open"] is False))

    def go_fold_all(self, row: Row | None) -> None:
        self._turn(*(line["key"] for line in self._lines if line["open"] and not line["subject"]))

    # ------------------------------------------------------------------ verbs

    def under_cursor(self) -> Row | None:
        return self.rows.row

    def general(self) -> Sequence[Verb]:
        kept = [verb for verb in GENERAL if verb.name in _HERE]
        kept = [
            dataclasses.replace(verb, disabled_reason=_there) if verb.needs is Needs.OBJECT else verb for verb in kept
        ]
        back = next(verb for verb in kept if verb.name == "back")
        return (*kept, dataclasses.replace(back, name="escape", key="escape", shown_key="Esc"))

    def go_open(self, row: Row | None) -> None:
        assert row is not None
        if row["line"] == OBJECT:
            opening.show(self.app, row["kind"], row["row"])
        elif row["line"] == REST and row["key"].split(PART)[-2] == "0":
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
        self._wake.set()

    def go_operations(self, row: Row | None) -> None:
        opening.show_list(self.app, Locator(kind="operation"))


def _text(line: Row) -> str:
    return f"{line['name']} {line['what']} {line['status'][0]} {line['note']} {line['id']}".lower()
