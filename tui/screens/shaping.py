"""What the browser does with a list besides going elsewhere: order, columns, marks, faults, and holding it still."""

from __future__ import annotations

import dataclasses
from typing import Any

from textual import on, work

from tui import shape
from tui.locator import split_filter, without
from tui.screens.going import GoingScreen
from tui.verbs import Row
from tui.view import Column
from tui.widgets.table import RowList


class ShapingScreen(GoingScreen):
    """The browser's middle third. `held`: news waits until the person goes on."""

    generation: int
    """Grows with every change of what is asked: an answer to an older question is thrown away."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.held = False
        self._anchor: str | None = None
        """Where a range of marks begins: what was marked last."""
        self._did = ""
        """The verb that was done last."""

    # ------------------------------------------------------------------ what the browser gives

    @property
    def alive(self) -> bool:
        """Whether there is still a list to draw: what was read may come when the screen is being taken down."""
        raise NotImplementedError

    def draw_crumb(self) -> None:
        raise NotImplementedError

    def spoil(self) -> None:
        """Read again what is in sight."""
        raise NotImplementedError

    # ------------------------------------------------------------------ columns

    @property
    def listed(self) -> list[str]:
        """The names of the listing's columns that can be shown; none before the store is open."""
        listing = self.app.seat.listings.get(self.view.kind)
        return [] if listing is None else list(listing.plain)

    @property
    def columns(self) -> tuple[Column, ...]:
        """What this list shows: the person's choice, else the view's."""
        words = self.app.settings.columns.get(self.view.kind)
        return shape.chosen(shape.available(self.view, self.listed), words) if words else tuple(self.view.columns)

    def reshape(self) -> None:
        """The choice of columns is another one, or the listing is known now."""
        columns = self.columns
        shown = {shape.named(column) for column in columns}
        rest = tuple(column for column in self.view.columns if shape.named(column) not in shown)
        self.rows.reshape(columns, rest)
        self.draw_crumb()

    def go_columns(self, row: Row | None) -> None:
        """Choose what is shown, seen at once in the list behind."""
        from tui.screens.columns import ColumnChooser

        before = self.app.settings

        def tried(words: list[str] | None) -> None:
            columns = {kind: kept for kind, kept in before.columns.items() if kind != self.view.kind}
            self.app.settings = dataclasses.replace(
                before, columns=columns | ({self.view.kind: words} if words else {})
            )
            self.reshape()

        def ended(kept: bool | None) -> None:
            if not kept:
                self.app.settings = before
                self.reshape()
            elif self.app.settings != before:
                self.app.save_settings({"columns": {self.view.kind: self.app.settings.columns.get(self.view.kind)}})

        def sorted_by(key: str) -> None:
            self.sort_by(key)

        available = shape.available(self.view, self.listed)
        self.app.push_screen(ColumnChooser(self.view, available, self.columns, tried, sorted_by), ended)

    def go_wide(self, row: Row | None) -> None:
        self.rows.toggle_wide()
        self.draw_crumb()

    # ------------------------------------------------------------------ order

    def key_of(self, word: str) -> str:
        """The listing's column a person means by a name or a title."""
        return shape.column_key(self.view, self.listed, word)

    @property
    def order(self) -> str:
        """As the listing takes it: `-created_at`."""
        wanted = self.locator.sort or self.view.sort
        return ("-" if wanted.startswith("-") else "") + self.key_of(wanted.removeprefix("-"))

    @property
    def asked(self) -> tuple[dict[str, str], str]:
        """The filter as the listing takes it: ({column: value}, free text)."""
        where, text = split_filter(self.locator.filter)
        listing = self.app.seat.listings.get(self.view.kind)
        terms = {} if listing is None else listing.terms
        return {column if column in terms else self.key_of(column): value for column, value in where.items()}, text

    def sort_by(self, key: str) -> None:
        """By this column; by it already: the other way round."""
        order = f"-{key}" if self.order == key else key
        self.visit(dataclasses.replace(self.locator, sort=order), remember=False)

    @on(RowList.Titled)
    def _titled(self, event: RowList.Titled) -> None:
        if event.column.key:
            self.sort_by(event.column.key)

    def go_sort_left(self, row: Row | None) -> None:
        self._sort_beside(-1)

    def go_sort_right(self, row: Row | None) -> None:
        self._sort_beside(1)

    def _sort_beside(self, step: int) -> None:
        keys = [column.key for column, _ in self.rows.layout_now.columns if column.key]
        now = self.order.removeprefix("-")
        at = (keys.index(now) + step) % len(keys) if now in keys else 0
        self.visit(dataclasses.replace(self.locator, sort=keys[at]), remember=False)

    def go_reverse(self, row: Row | None) -> None:
        order = self.order
        order = order.removeprefix("-") if order.startswith("-") else f"-{order}"
        self.visit(dataclasses.replace(self.locator, sort=order), remember=False)

    # ------------------------------------------------------------------ faults and holding still

    @property
    def faulty(self) -> bool:
        """Whether only what is wrong is shown."""
        terms = self.view.faults.split()
        return bool(terms) and set(terms) <= set(self.locator.filter.split())

    def go_faults(self, row: Row | None) -> None:
        faults = self.view.faults
        if not faults:
            self.app.tell(f"{self.view.title.lower()} are never at fault", "", tone="ok")
            return
        left = without(self.locator.filter, faults)
        wanted = left if self.faulty else f"{left} {faults}".strip()
        self.visit(dataclasses.replace(self.locator, filter=wanted), remember=False)

    def go_hold(self, row: Row | None) -> None:
        self.held = not self.held
        if not self.held:
            self.spoil()
        self.draw_lines()

    # ------------------------------------------------------------------ the last action

    def action_do(self, name: str) -> None:
        super().action_do(name)
        if any(verb.name == name and verb.run is not None for verb in self.verbs):
            self._did = name

    def go_repeat(self, row: Row | None) -> None:
        """The last action that changed something, on what is meant now; it asks again what it asked then."""
        if not self._did:
            self.app.tell("nothing was done yet", "", tone="ok")
        elif not any(verb.name == self._did for verb in self.verbs):
            self.app.tell(f"{self._did} cannot be done to {self.view.title.lower()}", "", tone="warn")
        else:
            self.action_do(self._did)

    # ------------------------------------------------------------------ marks

    def go_mark(self, row: Row | None) -> None:
        if (under := self.rows.row) is not None:
            self._anchor = under[self.view.key]
        self.rows.toggle_mark()
        self._marked()

    def go_clear_marks(self, row: Row | None) -> None:
        self._anchor = None
        self.rows.marks.clear()
        self._marked()

    def _marked(self) -> None:
        self.rows.sync()
        self.draw_crumb()
        self.draw_keys()

    def go_mark_all(self, row: Row | None) -> None:
        """Everything the filter shows, in sight or not."""
        self.marking = True
        self._mark_all()

    @work(group="mark", exclusive=True)
    async def _mark_all(self) -> None:
        try:
            await self._mark(None, None)
        finally:
            self.marking = False

    def go_mark_range(self, row: Row | None) -> None:
        """From the last mark to the cursor, in the order that is shown; without one it begins here."""
        under = self.under_cursor()
        if under is None:
            return
        here = under[self.view.key]
        if self._anchor is None or self._anchor not in self.rows.marks:
            self._anchor = here
            self.rows.marks[here] = self.called(under)
            self._marked()
            self.app.tell("a range begins here", "Move to its other end and press V again.", tone="ok")
            return
        self._mark_to(self._anchor, here)
        self._anchor = here

    @work(group="mark", exclusive=True)
    async def _mark_to(self, one: str, other: str) -> None:
        self.marking = True
        try:
            await self._mark(one, other)
        finally:
            self.marking = False

    async def _mark(self, one: str | None, other: str | None) -> None:
        """Mark what stands from one key to the other; everything without them."""
        from core import listing as lists

        seat, view, generation = self.app.seat, self.view, self.generation
        (where, text), sort = self.asked, self.order
        ctx, listing = seat.ctx, dataclasses.replace(seat.listings[view.kind], enrich=lambda session, rows: None)

        def read(session: Any) -> dict[str, str]:
            asked: dict[str, Any] = {"where": where, "text": text, "sort": sort}
            if one is None or other is None:
                rows = lists.page(session, ctx, listing, where=where, text=text)
            else:
                keys = lists.keys(session, ctx, listing, **asked)
                if one not in keys or other not in keys:
                    return {}
                first, last = sorted((keys.index(one), keys.index(other)))
                rows = lists.window(session, ctx, listing, offset=first, limit=last - first + 1, **asked)
            return {row[view.key]: str(row[view.name] or row[view.key]) for row in rows}

        found = await seat.read(read)
        if not self.alive or generation != self.generation:
            return  # another list is shown by now
        self.rows.marks = found if one is None else self.rows.marks | found
        self._marked()
