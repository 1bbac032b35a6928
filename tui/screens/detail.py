"""One object: its overview, its console log, what happened to it, and all of it as YAML."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.widgets import Static

from tui.console.logview import LogPanel
from tui.console.page import LogPage
from tui.finding.page import used_by
from tui.finding.trail import trail
from tui.keymap import moving
from tui.screens.sources import LOOK_AGAIN, TAIL_LINES, Console, Course, Guests
from tui.verbs import GENERAL, Row, Verb
from tui.view import Box, Cell, Form, Lines, Source, Tab, View
from tui.views.metrics import SPANS
from tui.views.pages import events_page, yaml_page
from tui.widgets.bar import Bar
from tui.widgets.boxes import laid_out
from tui.widgets.lines import Line, page

if TYPE_CHECKING:
    from tui.app import Skydeck

_HERE = ("command", "back", "help", "messages", "menu", "refresh", "operations", "used_by", "owner", "tree")


COMMON = (Tab(title="Events", read=events_page), Tab(title="YAML", read=yaml_page))


class DetailScreen(LogPage):
    """Follows its object while open; every key of the list that acts on an object works here too."""

    app: Skydeck

    BINDINGS = [
        Binding("tab,right", "turn(1)", "next tab", id="detail.next", show=False),
        Binding("shift+tab,left", "turn(-1)", "tab before", id="detail.before", show=False),
        Binding("less_than_sign", "span(1)", "plots: a longer span", id="detail.longer", show=False),
        Binding("greater_than_sign", "span(-1)", "plots: a shorter span", id="detail.shorter", show=False),
        *moving(
            down="scroll(1)",
            up="scroll(-1)",
            half_down="leap(0.5)",
            half_up="leap(-0.5)",
            page_down="leap(1)",
            page_up="leap(-1)",
            top="scroll(-1000000)",
            bottom="scroll(1000000)",
        ),
    ]

    def __init__(self, view: View, row: Row, tab: str, *, find: tuple[str, str] | None = None) -> None:
        """`find`: (what is looked for in the log at once, the line that is meant)."""
        from core import relations

        super().__init__()
        self.view = view
        self.row = row
        self.find = find
        self.tabs = (*view.tabs, *COMMON, *([used_by(view.kind)] if relations.known(view.kind) else []))
        self.tab = next((at for at, one in enumerate(self.tabs) if one.title == tab), 0)
        self._gone = False
        self._lines: Lines = []
        self._boxes: list[Box | Source] = []
        self._wake = asyncio.Event()
        self.tail = Console(self.app.seat, row[view.key])
        self.course = Course(self.app.seat, row[view.key], host=view.kind == "host")
        self.guests = Guests(self.app.seat, str(row[view.name]))
        own = self._bindings
        self.bind_verbs()
        for key, binding in own:
            self._bindings.key_to_bindings[key] = [binding]  # this screen's own movement wins

    def compose(self) -> ComposeResult:
        yield Line(id="header")
        yield Line(id="crumb")
        yield Line(id="tabs")
        with VerticalScroll(id="page"):
            yield Static(id="text", markup=False)
        if any(tab.source is Source.LOG for tab in self.tabs):
            yield LogPanel(id="log")
        yield Bar()

    def on_mount(self) -> None:
        self.app.rows_changed.subscribe(self, self._news)
        self.query_one("#page").focus()
        self._draw()
        self._wake.set()
        self._follow()
        self._watch()
        self.turned()
        self.set_interval(1.0, self._draw)

    async def on_unmount(self) -> None:
        await self.tail.close()
        await self.app.seat.close_metrics()

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
        from core import listing as lists
        from core.errors import SkydeckError

        seat, tab, view = self.app.seat, self.tabs[self.tab], self.view
        ctx, listing, key, now = seat.ctx, seat.listings[view.kind], self.row[view.key], seat.now()

        def read(session: Any) -> tuple[Row | None, Lines, list[Box | Source]]:
            row = lists.one(session, ctx, listing, key)
            if row is None:
                return None, [], []
            lines = tab.read(session, ctx, row, now) if tab.read else []
            return row, lines, tab.boxes(session, ctx, row, now) if tab.boxes else []

        try:
            row, lines, boxes = await seat.read(read)
        except SkydeckError as bad:
            self.app.tell(bad.title, bad.hint, tone="bad")
            return
        except Exception as bad:  # noqa: BLE001  the loop's edge: a store in trouble must not end the app
            self.app.tell(f"the store cannot be read: {str(bad).splitlines()[0]}", "It is tried again.", tone="bad")
            return
        if not self._alive:
            return
        if row is None:
            if not self._gone:
                self._gone = True
                self.app.tell(f"{self.called(self.row)} is gone", "q goes back to the list", tone="warn")
        else:
            self.row = row
            if tab is self.tabs[self.tab]:
                self._lines, self._boxes = lines, boxes
                self._draw_page()
        self._draw()

    @property
    def _alive(self) -> bool:
        """Whether there is still something to draw on: what was read may come when the page is being taken down."""
        return self.is_attached and bool(self.query("#text")) and bool(self.query("#prompt-line"))

    # ------------------------------------------------------------------ what hosts are asked for

    def _shows(self, *sources: Source) -> bool:
        """Whether the present page has a part that is read from there."""
        tab = self.tabs[self.tab]
        return any(source in (tab.source, *tab.sources) for source in sources)

    @work(group="console", exclusive=True)
    async def _watch_console(self) -> None:
        while self._shows(Source.CONSOLE):
            if self.is_current:  # behind another page nobody looks
                await self.tail.read(TAIL_LINES)
                self._draw_page()
            await asyncio.sleep(LOOK_AGAIN)

    @work(group="metrics", exclusive=True)
    async def _watch_metrics(self) -> None:
        while self._shows(Source.LIVE, Source.METRICS):
            pause = LOOK_AGAIN
            if self.is_current:
                pause = await self.course.read(self.course.span if self._shows(Source.METRICS) else SPANS[0])
                self._draw_page()
            await asyncio.sleep(pause)

    @work(group="guests", exclusive=True)
    async def _watch_guests(self) -> None:
        while self._shows(Source.GUESTS):
            pause = LOOK_AGAIN
            if self.is_current:
                pause = await self.guests.read()
                self._draw_page()
            await asyncio.sleep(pause)

    def _watch(self) -> None:
        """Another page: what it shows is looked at from now on, and nothing else."""
        self._watch_console()
        self._watch_metrics()
        self._watch_guests()

    # ------------------------------------------------------------------ the page

    def _draw_page(self) -> None:
        """Draw what is known of the present page, in its width."""
        if not self._alive:
            return
        tab = self.tabs[self.tab]
        scroll = self.query_one("#page", VerticalScroll)
        width, height = max(1, scroll.size.width - 2), max(1, scroll.size.height)
        glyphs = self.app.settings.glyphs
        if tab.source is Source.METRICS:
            shown = self.course.page(width, height, glyphs)
        elif tab.boxes:
            shown = laid_out([self._box(box) for box in self._boxes], width, height, glyphs) if self._boxes else []
        else:
            shown = self._lines
        self.query_one("#text", Static).update(page(shown or [[("…", "dim")]]))

    def _box(self, box: Box | Source) -> Box:
        """A source as the box that is drawn of it."""
        if box is Source.LIVE:
            lines = self.course.brief(self.app.settings.glyphs)
            return Box(title=self.course.title, lines=lines, right=True, small=True)
        if box is Source.CONSOLE:
            tail = self.tail.lines or [[("…", "dim")]]
            title = "Console, read-only; o attaches"
            return Box(title=title, lines=lambda width: tail, right=True, tail=True, brief=6)
        if box is Source.GUESTS:
            return Box(title="Busiest guests", lines=self.guests.lines(self.app.settings.glyphs), right=True)
        assert isinstance(box, Box)
        return box

    # ------------------------------------------------------------------ drawing

    def _draw(self) -> None:
        if not self._alive:
            return
        self.draw_header(self.app.header)
        now = self.app.seat.now()
        crumb: list[Cell] = [*self._way(), (self.called(self.row), "head")]
        for cell in [("gone", "bad")] if self._gone else self.view.headline(self.row, now):
            crumb += [("   ", ""), cell]
        self.query_one("#crumb", Line).show(crumb)
        names = [f"{at} {tab.title}" for at, tab in enumerate(self.tabs, 1)]
        hint: list[Cell] = [("Tab, 1-9", "dim")]
        # Closer together where there is no room; the hint gives way first, then the words of those far from here.
        spare = self.size.width - sum(map(len, names)) - len(names)
        pad = " " if spare >= 2 * len(names) else ""
        if spare < 0:
            near = range(self.tab - 1, self.tab + 2)
            names = [name if at in near else name[: len(str(at + 1)) + 4] for at, name in enumerate(names)]
        tabs: list[Cell] = []
        for at, name in enumerate(names):
            tabs += [(f"{pad}{name}{pad}", "on" if at == self.tab else ""), (" ", "")]
        self.query_one("#tabs", Line).show(tabs, hint if spare > len(hint[0][0]) + 2 * len(names) else [])
        self.draw_keys()
        self.query_one(Bar).status([(f"{self.row.get('id', '')}", "dim")], [("q", "key"), (" back", "dim")])

    @property
    def trail_name(self) -> str:
        """In the title line of what is opened from here."""
        return self.called(self.row)

    def _way(self) -> list[Cell]:
        """`Instances > `, or the whole way here when it did not begin in this noun's list."""
        behind = trail(self)
        if [name for name, _ in behind] in ([], [f"{self.view.title} > "]):
            return [(f"{self.view.title} > ", "dim")]
        return [*behind, (f"{self.view.kind.replace('_', ' ')} ", "dim")]

    def on_resize(self) -> None:
        self._draw()
        self.call_after_refresh(self._draw_page)

    # ------------------------------------------------------------------ moving

    def show_tab(self, at: int) -> None:
        if 0 <= at < len(self.tabs) and at != self.tab:
            self.tab = at
            self._lines, self._boxes = [], []
            self._draw_page()
            self.query_one("#page", VerticalScroll).scroll_home(animate=False)
            self._draw()
            self._wake.set()
            self._watch()
            self.turned()

    def action_turn(self, by: int) -> None:
        self.show_tab((self.tab + by) % len(self.tabs))

    def action_scroll(self, by: int) -> None:
        self.query_one("#page", VerticalScroll).scroll_relative(y=by, animate=False)

    def action_leap(self, pages: float) -> None:
        shown = self.query_one("#page", VerticalScroll)
        shown.scroll_relative(y=round(shown.size.height * pages), animate=False)

    def on_key(self, event: events.Key) -> None:
        if event.character and event.character.isdigit():
            event.stop()
            self.show_tab(int(event.character) - 1)

    def action_span(self, by: int) -> None:
        """Look further back, or not so far, on a page of plots."""
        if self.tabs[self.tab].source is Source.METRICS:
            self.course.wider(by)
            self._draw_page()
            self._watch_metrics()

    # ------------------------------------------------------------------ verbs

    def under_cursor(self) -> Row | None:
        return self.row

    def general(self) -> Sequence[Verb]:
        return [verb for verb in GENERAL if verb.name in _HERE]

    def go_back(self, row: Row | None) -> None:
        self.dismiss()

    def go_refresh(self, row: Row | None) -> None:
        self._wake.set()

    def go_operations(self, row: Row | None) -> None:
        self.dismiss()
        self.app.browse("operation")

    def _tab_named(self, title: str) -> None:
        self.show_tab(next((at for at, tab in enumerate(self.tabs) if tab.title == title), self.tab))

    def go_open(self, row: Row | None) -> None:
        self.show_tab(0)

    def go_describe(self, row: Row | None) -> None:
        self.show_tab(0)

    def fill_in(self, form: Form, row: Row | None) -> None:
        """On the YAML page `e` changes the YAML."""
        editing = any(verb.name == "edit" and verb.form is form for verb in self.view.verbs)
        if editing and self.tabs[self.tab].title == "YAML":
            self.go_edit_yaml(row)
        else:
            super().fill_in(form, row)

    def go_yaml(self, row: Row | None) -> None:
        self._tab_named("YAML")

    def go_events(self, row: Row | None) -> None:
        self._tab_named("Events")

    def go_log(self, row: Row | None) -> None:
        self._tab_named("Log")
