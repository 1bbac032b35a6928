"""The one list screen: it shows whichever noun the locator names, from that noun's declaration."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.widgets import Static

from tui import export, registry
from tui.glance import Glance, Header, Wanted, look
from tui.locator import Locator
from tui.measured import Measured, refused
from tui.screens.showing import ShowingScreen
from tui.verbs import GENERAL, Row, Verb
from tui.view import Cell
from tui.widgets.bar import Bar
from tui.widgets.lines import Line
from tui.widgets.table import RowList

if TYPE_CHECKING:
    from tui.app import Skydeck
    from tui.seen import Seen

TASKS = 4
"""Operations in the pane below the list."""

HISTORY = 50

KEEP_EVERY = 60.0
"""Seconds after which the list is kept again for the next start, should the app not end by itself."""

HEADER_SHARE = 20
"""The header's sums may take one part in so many of the time: a large project's are counted less often."""


class BrowserScreen(ShowingScreen):
    """Keeps a list in step with the store. One loop reads, so that reads never overtake each other."""

    app: Skydeck

    def __init__(self, locator: Locator) -> None:
        super().__init__(locator)
        self._wake = asyncio.Event()
        self.generation = 0
        self._aim: str | None = None
        """The object that the cursor is to stand on when the rows come."""
        self._header: Header | None = None
        self._header_at = self._header_cost = 0.0
        self._header_owed = False
        self._total = 0
        self._tasks: tuple[Row, ...] = ()
        self._seen: Seen | None = None
        """What is shown until the first rows are read."""
        self._kept_at = 0.0
        """When the list was last kept for the next start, by time.monotonic()."""
        self._measured = Measured()
        self.bind_verbs()

    def compose(self) -> ComposeResult:
        yield Line(id="header")
        yield Line(id="crumb")
        yield RowList(now=self.app.seat.now, id="rows")
        yield Static(id="preview", markup=False)
        yield Static(id="tasks", markup=False)
        yield Bar()

    def on_mount(self) -> None:
        self.remember_recent(self.locator)
        self._show_view()
        self.rows.focus()
        self._recall()
        self.app.rows_changed.subscribe(self, self._news)
        self.set_interval(1.0, self._tick)
        self._follow()

    def on_unmount(self) -> None:
        if self.query(RowList):
            self.keep_seen()

    @property
    def header(self) -> Header | None:
        """What was last read of the project."""
        return self._header

    @property
    def trail_name(self) -> str:
        """In the title line of what is opened from here."""
        return self.view.title

    # ------------------------------------------------------------------ reading

    def _news(self, _: object) -> None:
        if not self.held:
            self.spoil()

    def spoil(self) -> None:
        self.rows.pages.spoil()
        self.look_again()

    def _recall(self) -> None:
        """Begin with what this list showed last time."""
        memory = self.app.memory
        if memory is not None and (seen := memory.recall(self.locator.show(self.view.kind))) is not None:
            self._seen = seen
            self.rows.recall(seen.rows)
            self.draw_lines()

    def keep_seen(self, *, again_after: float = 0.0) -> None:
        """Keep the top of the list that the app begins with."""
        memory, rows, seat = self.app.memory, self.rows, self.app.seat
        if memory is None or rows.fresh or not seat.ready or time.monotonic() - self._kept_at < again_after:
            return
        top = rows.pages.first()
        if top and self.locator == self.app.start_at and memory.own(seat.ctx):
            self._kept_at = time.monotonic()
            memory.keep(self.locator.show(self.view.kind), at=seat.now(), count=rows.pages.count, rows=top)

    def look_again(self) -> None:
        self._wake.set()

    def acted(self) -> None:
        self.spoil()

    @on(RowList.Needs)
    def _needed(self) -> None:
        self.look_again()

    @work(group="follow", exclusive=True)
    async def _follow(self) -> None:
        """Read whenever something changed or came into sight."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self.app.seat.ready and self.alive and not self._still:
                await self._look()

    @property
    def alive(self) -> bool:
        """Whether there is still a list to draw: what was read may come when the screen is being taken down."""
        return self.is_attached and bool(self.query(RowList)) and bool(self.query(Bar))

    @property
    def _still(self) -> bool:
        """Whether the list is held and shows all it has to."""
        return self.held and not self.rows.fresh and not self.rows.pages.unread(*self.rows.sight)

    async def _look(self) -> None:
        from core.errors import SkydeckError

        rows, generation, kind = self.rows, self.generation, self.locator.kind
        where, text = self.asked
        wanted = Wanted(
            kind=kind,
            where=where,
            text=text,
            sort=self.order,
            pages=() if rows.fresh else tuple(rows.pages.unread(*rows.sight)),
            cursor=0 if rows.fresh else rows.cursor,
            cursor_id=self._aim or rows.cursor_id if rows.fresh else rows.cursor_id,
            top=0 if rows.fresh else rows.top,
            height=max(rows.height, 50),
            marks=tuple(rows.marks),
            empty=self.view.empty,
            header=self._header is None or time.monotonic() - self._header_at > HEADER_SHARE * self._header_cost,
            tasks=TASKS,
        )
        if (why := refused(self.view, (self.order.removeprefix("-"), *where))) is not None:
            self._refused(*why)
            return
        seat = self.app.seat
        ctx, listings = seat.ctx, seat.listings
        try:
            glance = await seat.read(lambda session: look(session, ctx, listings, wanted))
        except SkydeckError as bad:
            if generation == self.generation and self.alive:
                self._refused(bad.title, bad.hint)
            return
        except Exception as bad:  # noqa: BLE001  the loop's edge: a store in trouble must not end the app
            if not self.alive:
                return
            self._refused(f"the store cannot be read: {str(bad).splitlines()[0]}", "It is tried again.")
            self.set_timer(2.0, self.look_again)
            return
        if generation == self.generation and self.alive:
            self._take(glance, wanted)

    def cannot_open(self, title: str, hint: str) -> None:
        """The store could not be opened; it is tried again."""
        self._refused(title, hint)

    def _refused(self, title: str, hint: str) -> None:
        """The question made no sense, or could not be answered: said in the crumb line, the rows stay."""
        if (title, hint) != self._problem:
            self._problem = (title, hint)
            if not self.query_one(Bar).typing:
                self.app.tell(title, hint, tone="bad")
        if not self.rows.pages.count:
            self.rows.say([[(title, "bad")], [(hint, "")]])
        self.draw_lines()

    def _take(self, glance: Glance, wanted: Wanted) -> None:
        self._problem = None
        self._total, self._tasks = glance.total, glance.tasks
        self._header_owed = glance.header is None
        if glance.header is not None:
            self._header, self._header_at, self._header_cost = glance.header, time.monotonic(), glance.seconds
        rows = self.rows
        rows.forget_marks(glance.living | (set(rows.marks) - set(wanted.marks)))
        notice: list[list[Cell]] = [[cell] for cell in glance.notice]
        if not glance.count and not notice:
            notice = [[(f"Nothing matches /{self.locator.filter}", "")], [("Esc clears the filter.", "dim")]]
        rows.say(notice if not glance.count else [])
        self._seen = None
        rows.show(glance.count, glance.pages, at=glance.at, asked_for=wanted.cursor_id)
        self.keep_seen(again_after=KEEP_EVERY)
        self.draw_lines()

    # ------------------------------------------------------------------ drawing

    def _measure(self) -> None:
        """See that what is measured of the rows in sight is known, when a column shows it."""
        self.rows.glyphs = self.app.settings.glyphs
        ids = self.rows.in_sight
        if self.app.seat.ready and any(c.measured for c, _ in self.rows.layout_now.columns) and self._measured.due(ids):
            self._read_measured(ids)

    @work(group="measure")
    async def _read_measured(self, ids: list[str]) -> None:
        await self._measured.read(self.app.seat, ids)
        if self.alive:
            self.rows.measured = self._measured.values
            self.rows.sync()

    def _tick(self) -> None:
        """Ages grow, and the header tells how fresh all is."""
        self.draw_header(self._header)
        if self.held:
            return
        self._measure()
        self.rows.sync()
        if self._header_owed or (self._header is not None and not self._header.engine):
            self.look_again()

    @on(RowList.Moved)
    def _moved(self) -> None:
        if not self.query_one(Bar).typing:
            self.draw_keys()
        self._draw_preview()
        self._measure()

    @on(RowList.Shaped)
    def _shaped(self) -> None:
        self.draw_crumb()

    def on_resize(self) -> None:
        self.draw_header(self._header)
        self.draw_lines()

    # ------------------------------------------------------------------ where it looks

    def visit(self, locator: Locator, *, remember: bool = True) -> None:
        """Show another list, filter or order."""
        if remember and locator != self.locator:
            self._past = [*self._past[-HISTORY:], self._here()]
            self._future.clear()
        if remember or locator.kind != self.locator.kind:
            self._arrived = locator.filter
            self.remember_recent(locator)
        changed = locator.kind != self.locator.kind
        only_order = not changed and not self.rows.fresh and locator.filter == self.locator.filter
        # Another order of the same rows moves the object, not the cursor off it.
        self._aim = locator.cursor or (self.rows.cursor_id if only_order else None)
        self.locator = dataclasses.replace(locator, project="", over="", cursor="")
        self.view = registry.VIEWS[locator.kind]
        if changed:
            self.bind_verbs()
            self._show_view()
        else:
            self.rows.sort = self.order
            self.rows.restart()
        self.generation += 1
        self._problem = None
        self.look_again()
        self.draw_lines()
        self.in_front = ""
        if locator.over:
            self.go(locator.over, None)

    def _show_view(self) -> None:
        self.rows.use(self.columns, key=self.view.key, label=self.view.name, sort=self.order)
        self.reshape()

    # ------------------------------------------------------------------ who verbs mean

    def under_cursor(self) -> Row | None:
        # Between asking for another list and having it, what is drawn is no longer meant.
        return None if self.rows.fresh else self.rows.row

    def marked(self) -> list[Row]:
        return self.rows.marked_rows()

    def general(self) -> Sequence[Verb]:
        return GENERAL

    @property
    def exported(self) -> str:
        count = len(self.rows.marks)
        return f"{count} marked" if count else f"{self.rows.pages.count} {self.view.title.lower()}"

    def to_export(self) -> export.Wanted:
        where, text = self.asked
        marks = frozenset(self.rows.marks) or None
        return export.Wanted(kind=self.view.kind, sort=self.order, where=where, text=text, keys=marks)

    # ------------------------------------------------------------------ going

    def go_open(self, row: Row | None) -> None:
        assert row is not None
        if self.view.enter_action:
            self.go(self.view.enter_action, row)
        elif self.view.enter and (locator := self.view.enter(row)):
            self.go_to(dataclasses.replace(locator, trail=(*self.locator.trail, self.view.title, self.called(row))))
        else:
            self._detail(row, "")

    @on(RowList.Opened)
    def _opened(self) -> None:
        self.action_do("open")

    def go_describe(self, row: Row | None) -> None:
        self._detail(row, "")

    def go_yaml(self, row: Row | None) -> None:
        self._detail(row, "YAML")

    def go_events(self, row: Row | None) -> None:
        self._detail(row, "Events")

    def go_log(self, row: Row | None) -> None:
        self._detail(row, "Log")

    def _detail(self, row: Row | None, tab: str) -> None:
        assert row is not None
        from tui.screens.detail import DetailScreen

        self.app.push_screen(DetailScreen(self.view, row, tab))

    def go_enter_project(self, row: Row | None) -> None:
        """Work in this project, and look at what was looked at before."""
        assert row is not None
        before = next((old for old in reversed(self._past) if old.kind != "project"), None)
        kind = before.kind if before else registry.FIRST
        self.go_to(Locator(kind=kind, project=row["id"]))

    def go_all_projects(self, row: Row | None) -> None:
        from core.errors import SkydeckError

        try:
            self.app.seat.span(not self.app.seat.ctx.all_projects)
        except SkydeckError as bad:
            self.app.tell(bad.title, bad.hint, tone="bad")
            return
        self.rows.marks.clear()
        self.visit(self.locator, remember=False)

    def go_projects(self, row: Row | None) -> None:
        """Choose where to work; what is looked at stays."""
        from tui.finding.projects import PICK, chosen
        from tui.screens.pick import PickScreen

        self.app.push_screen(PickScreen(PICK, {}, self.app.seat.ctx.project_name), lambda id: chosen(self, id))

    def go_next_preset(self, row: Row | None) -> None:
        """The next of the view's usual filters."""
        presets = self.view.presets(self.app.seat.ctx)
        at = presets.index(self.locator.filter) + 1 if self.locator.filter in presets else 0
        if presets:
            self.visit(dataclasses.replace(self.locator, filter=presets[at % len(presets)]), remember=False)

    def go_operations(self, row: Row | None) -> None:
        self.visit(Locator(kind="operation"))

    def go_refresh(self, row: Row | None) -> None:
        self.spoil()
