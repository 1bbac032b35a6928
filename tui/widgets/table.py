"""The list: 50,000 rows drawn from the few hundred that are looked at.

A toolkit's table holds every cell and takes seconds to fill; this one asks for pages of a window and draws a line
when it is needed. Cursor and marks stand on ids, so that no refresh moves them to another object. After anything
happened, `sync` compares what each visible line should show with what it shows, and repaints only the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from textual import events
from textual.cache import LRUCache
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.keymap import moving
from tui.verbs import Row
from tui.view import Cell, Column, Look
from tui.widgets import rowlines
from tui.widgets.columns import GUTTER, Layout, arrange
from tui.widgets.pages import Pages

_Key = tuple[object, ...]


class RowList(ScrollView, can_focus=True):
    """Rows of one view. The screen gives pages (`show`), the list says what it needs and where the cursor is."""

    BINDINGS = moving(
        down="move(1)",
        up="move(-1)",
        top="edge(-1)",
        bottom="edge(1)",
        half_down="leap(0.5)",
        half_up="leap(-0.5)",
        page_down="leap(1)",
        page_up="leap(-1)",
        left="shift(-1)",
        right="shift(1)",
    )

    COMPONENT_CLASSES = {"rowlist--head", "rowlist--cursor", "rowlist--marked"}

    DEFAULT_CSS = """
    RowList { height: 1fr; overflow-x: hidden; overflow-y: auto; scrollbar-size: 0 0; }
    RowList > .rowlist--head { text-style: bold; color: $text-muted; }
    RowList > .rowlist--cursor { background: $primary 45%; text-style: bold; }
    RowList > .rowlist--marked { color: $warning; text-style: bold; }
    RowList:nocolor > .rowlist--cursor { text-style: bold reverse; }
    """

    class Needs(Message):
        """Positions are in sight whose pages are missing or stale."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, RowList.Needs)

    class Moved(Message):
        """The cursor is on another row, or its row changed."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, RowList.Moved)

    class Opened(Message):
        """A row was clicked twice."""

    class Titled(Message):
        """A column's title was clicked."""

        def __init__(self, column: Column) -> None:
            super().__init__()
            self.column = column

    class Shaped(Message):
        """Other columns are shown than before."""

    def __init__(self, *, now: Callable[[], int], id: str | None = None) -> None:
        super().__init__(id=id)
        self._now = now
        self._columns: Sequence[Column] = ()
        self._rest: Sequence[Column] = ()
        """Shown besides when everything is wanted."""
        self._layout = Layout((), 0, 0)
        self._laid_out: _Key = ()
        self._first_column = 0
        self._strips: LRUCache[_Key, Strip] = LRUCache(2048)
        self._painted: list[_Key] = []
        self.pages = Pages()
        self.key = "id"
        self.label = "name"
        self.wide = False
        self.cursor = 0
        """Position of the cursor."""
        self.cursor_id: str | None = None
        """The object it stands on; None while its page is not read."""
        self.marks: dict[str, str] = {}
        """Id to name of what is marked, in the order of marking."""
        self.sort = ""
        self.fresh = True
        """The next rows that arrive are another list's: they begin at the top."""
        self.measured: Mapping[str, Any] = {}
        """Key to what was measured of the object, for columns that show it."""
        self.glyphs = "braille"
        """What trends are drawn with."""
        self.notice: list[list[Cell]] = []
        """Shown instead of rows when there are none."""

    # ------------------------------------------------------------------ what is shown

    def use(self, columns: Sequence[Column], *, key: str, label: str, sort: str) -> None:
        """Show another noun: nothing of the one before remains."""
        self._columns, self.key, self.label, self.sort = columns, key, label, sort
        self._rest = ()
        self._first_column = 0
        self.marks.clear()
        self.pages.clear()
        self.cursor, self.notice = 0, []
        self._resize_content()
        self.scroll_to(y=0, animate=False)
        self._relayout()
        self.restart()

    def reshape(self, columns: Sequence[Column], rest: Sequence[Column]) -> None:
        """Other columns of the same rows; `rest` joins them while everything is wanted (`wide`)."""
        self._columns, self._rest = columns, rest
        self._first_column = 0
        self._relayout()

    def restart(self) -> None:
        """Another filter, order or project: from the top, when its rows arrive. Until then the old ones stay drawn."""
        self.fresh = True
        self.cursor_id = None
        self.sync()

    @property
    def layout_now(self) -> Layout:
        return self._layout

    @property
    def row(self) -> Row | None:
        """The row under the cursor."""
        return self.pages.row(self.cursor) if self.pages.count else None

    @property
    def top(self) -> int:
        """The position in the first visible line."""
        return round(self.scroll_offset.y)

    @property
    def height(self) -> int:
        """Visible rows: one line is the heading."""
        return max(1, self.size.height - 1)

    @property
    def sight(self) -> tuple[int, int]:
        """First and last visible position."""
        return self.top, self.top + self.height - 1

    def recall(self, rows: list[Row]) -> None:
        """Rows of another time, until those of now arrive: to look at, and to move about in."""
        self.pages.count = len(rows)
        self.pages.put(0, rows)
        self._resize_content()
        self.sync()

    def show(self, count: int, pages: dict[int, list[Row]], *, at: int | None, asked_for: str | None) -> None:
        """Take in what was read. `at` is where the object `asked_for` is now; None: it is gone, or was not asked for.

        The cursor stays on its object. When that moved, the list scrolls along; when it is gone, its neighbour is next.
        """
        returning = self.fresh and at is not None
        if self.fresh:
            self.fresh = False
            self.pages.clear()
            self.cursor, self.cursor_id = 0, asked_for if returning else None
            self.scroll_to(y=0, animate=False)
        self.pages.count = count
        for number, rows in pages.items():
            self.pages.put(number, rows)
        old_cursor, old_top = self.cursor, self.top
        if self.cursor_id is not None and self.cursor_id == asked_for and at is not None:
            self.cursor = at
        elif self.cursor_id is not None and self.cursor_id != asked_for:
            # The person moved on while this was read: look for the new place among what arrived.
            found = self.pages.find(self.cursor_id, self.key)
            self.cursor = self.cursor if found is None else found
        self.cursor = max(0, min(self.cursor, count - 1))
        self._resize_content()
        top = old_top + self.cursor - old_cursor if old_top else 0
        if returning and self.cursor >= self.height:
            top = self.cursor - self.height // 2  # it stood somewhere in the middle of things
        self._scroll(top)
        row = self.row
        self.cursor_id = row[self.key] if row else None
        self.sync()
        self.post_message(self.Moved())

    def forget_marks(self, living: set[str]) -> None:
        """Marks of objects that are gone vanish."""
        self.marks = {key: name for key, name in self.marks.items() if key in living}

    def say(self, lines: list[list[Cell]]) -> None:
        """What an empty list shows."""
        if lines != self.notice:
            self.notice = lines
            self.refresh()

    def sync(self) -> None:
        """Repaint the lines whose content is no longer what is on the screen."""
        if not self.is_mounted or not self.size:
            return
        if self._laid_out != self._layout_key():
            self._relayout()
            return
        first = self.top
        wanted = [self._line_key(first + line) for line in range(self.height)]
        if len(wanted) != len(self._painted):
            self.refresh()
        else:
            width = self.size.width
            for line, (new, old) in enumerate(zip(wanted, self._painted, strict=True)):
                if new != old:
                    self.refresh(Region(0, line + 1, width, 1))
        self._painted = wanted
        if self.pages.unread(*self.sight):
            self.post_message(self.Needs())

    # ------------------------------------------------------------------ moving

    def action_move(self, by: int) -> None:
        self._go(self.cursor + by)

    def action_edge(self, end: int) -> None:
        self._go(0 if end < 0 else self.pages.count - 1)

    def action_leap(self, pages: float) -> None:
        by = int(self.height * pages) or (1 if pages > 0 else -1)
        self._scroll(self.top + by, follow=False)
        self._go(self.cursor + by)

    def action_shift(self, by: int) -> None:
        layout = self._layout
        if (by > 0 and layout.hidden_right) or (by < 0 and layout.hidden_left):
            self._first_column += by
            self._relayout()

    def toggle_wide(self) -> None:
        self.wide = not self.wide
        self._first_column = 0
        self._relayout()

    def _go(self, to: int) -> None:
        if not self.pages.count:
            return
        self.cursor = max(0, min(to, self.pages.count - 1))
        row = self.row
        self.cursor_id = row[self.key] if row else None
        self._scroll(self.top)
        self.sync()
        self.post_message(self.Moved())

    def _scroll(self, top: int, *, follow: bool = True) -> None:
        """Put `top` in the first line, as far as the list goes and, with `follow`, the cursor stays in sight."""
        if follow:
            top = min(max(top, self.cursor - self.height + 1), self.cursor)
        top = max(0, min(top, self.pages.count - self.height))
        if top != self.top:
            self.scroll_to(y=top, animate=False)

    # ------------------------------------------------------------------ marks

    def toggle_mark(self) -> None:
        row = self.row
        if row is not None:
            key = row[self.key]
            if self.marks.pop(key, None) is None:
                self.marks[key] = str(row.get(self.label, key))
            self.action_move(1)
            self.sync()

    def marked_rows(self) -> list[Row]:
        """Rows of what is marked; only key and name of those whose page is not at hand."""
        rows = []
        for key, name in self.marks.items():
            at = self.pages.find(key, self.key)
            known = self.pages.row(at) if at is not None else None
            rows.append(known if known is not None else {self.key: key, self.label: name})
        return rows

    # ------------------------------------------------------------------ drawing

    def _resize_content(self) -> None:
        self.virtual_size = Size(max(1, self.size.width), self.pages.count + 1)

    def _layout_key(self) -> _Key:
        return (self.size.width, self.wide, self._first_column, self.sort, id(self._columns), id(self._rest))

    def _relayout(self) -> None:
        if not self._columns or not self.size:
            return
        width = self.size.width
        columns = (*self._columns, *self._rest) if self.wide else self._columns
        self._layout = arrange(columns, width, wide=self.wide, first=self._first_column)
        self._first_column = self._layout.hidden_left
        self._laid_out = self._layout_key()
        self._strips.clear()
        self._painted = [self._line_key(self.top + line) for line in range(self.height)]
        self.refresh()
        self.post_message(self.Shaped())
        if self.pages.unread(*self.sight):
            self.post_message(self.Needs())

    def _line_key(self, index: int) -> _Key:
        """All that decides how a line looks."""
        if index >= self.pages.count:
            return ()
        row = self.pages.row(index)
        if row is None:
            return (index == self.cursor,)
        now = self._now()
        cells = tuple(self._cell(column, room, row, now) for column, room in self._layout.columns)
        return cells, index == self.cursor, row[self.key] in self.marks

    def _cell(self, column: Column, room: int, row: Row, now: int) -> Cell:
        if column.measured is not None:
            return column.measured(row, self.measured.get(row[self.key]), Look(now, room, self.glyphs))
        return column.cell(row, now) if column.cell else (str(row.get(column.key, "")), "")

    @property
    def in_sight(self) -> list[str]:
        """Keys of the rows that are looked at."""
        first, last = self.sight
        rows = (self.pages.row(at) for at in range(first, min(last + 1, self.pages.count)))
        return [row[self.key] for row in rows if row is not None]

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            style = self.get_component_rich_style("rowlist--head")
            return rowlines.heading(self._layout, self.sort, width=width, style=style)
        index = self.top + y - 1
        if not self.pages.count and self.notice:
            return self._notice_line(y, width)
        key = self._line_key(index)
        strip = self._strips.get(key)
        if strip is None:
            strip = self._strips[key] = self._draw(key, width)
        return strip

    def _notice_line(self, y: int, width: int) -> Strip:
        start = max(2, (self.height - len(self.notice)) // 3)
        if not start <= y < start + len(self.notice):
            return Strip.blank(width, self.rich_style)
        return rowlines.notice(self.notice[y - start], width=width, style=self.rich_style)

    def _draw(self, key: _Key, width: int) -> Strip:
        if not key:
            return Strip.blank(width, self.rich_style)
        if len(key) == 1:
            return rowlines.awaited(bool(key[0]), width=width, style=self.rich_style)
        cells, at_cursor, marked = key
        base = self.get_component_rich_style("rowlist--cursor") if at_cursor else self.rich_style
        name = base + self.get_component_rich_style("rowlist--marked", partial=True) if marked else base
        return rowlines.row(
            self._layout,
            cells,  # type: ignore[arg-type]
            at_cursor=bool(at_cursor),
            marked=bool(marked),
            width=width,
            base=base,
            name=name,
        )

    # ------------------------------------------------------------------ events

    def on_mount(self) -> None:
        self._resize_content()

    def on_resize(self) -> None:
        self._resize_content()
        self._scroll(self.top)
        self._relayout()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.sync()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips.clear()

    def on_click(self, event: events.Click) -> None:
        if event.y == 0:
            self._clicked_title(event.x)
        elif event.y >= 1 and self.top + event.y - 1 < self.pages.count:
            self._go(self.top + event.y - 1)
            if event.chain == 2:
                self.post_message(self.Opened())

    def _clicked_title(self, x: int) -> None:
        at = GUTTER
        for column, cells in self._layout.columns:
            if at <= x <= at + cells:
                self.post_message(self.Titled(column))
                return
            at += cells + 1
