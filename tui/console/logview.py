"""A console log to read: followed as it grows, searched, wrapped, with times, marked, and copied from.

Lines are drawn as they come into sight, so that ten thousand cost as much as ten. The cursor stands on a line; while
the log is followed, it stands on the last.
"""

from __future__ import annotations

import dataclasses
import time

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Input

from tui.console.lines import LogLines, Part
from tui.keymap import moving
from tui.view import Cell
from tui.widgets.lines import Line
from tui.widgets.typed import TypedLine

_STAMP = 9
"""Cells of a time and its blank."""

_FOUND = Style(reverse=True)
_DIM = Style(color="bright_black")
_MARK = Style(color="yellow", bold=True)


@dataclasses.dataclass(frozen=True)
class _Row:
    """A line on the screen: a part of a log's line, or a mark after it."""

    line: int
    start: int = 0
    mark: str = ""


class LogView(ScrollView, can_focus=True):
    """The lines. What is typed while it has the focus is about the log, and not about the instance."""

    BINDINGS = [
        *moving(
            down="step(1)",
            up="step(-1)",
            half_down="leap(0.5)",
            half_up="leap(-0.5)",
            page_down="leap(1)",
            page_up="leap(-1)",
            top="edge(0)",
            bottom="edge(1)",
        ),
        Binding("slash", "search", "Look for a text", id="log.search", show=False),
        Binding("n", "found(1)", "The next place it stands", id="log.next", show=False),
        Binding("N", "found(-1)", "The place before", id="log.before", show=False),
        Binding("w", "wrap", "Wrap long lines, or cut them", id="log.wrap", show=False),
        Binding("s", "follow", "Follow the log as it grows, or stay", id="log.follow", show=False),
        Binding("t", "stamps", "Show when lines were seen", id="log.times", show=False),
        Binding("f", "full", "The log alone, over the whole screen", id="log.full", show=False),
        Binding("m", "mark", "A mark after the last line, to see what comes after it", id="log.mark", show=False),
        Binding("V,space", "select", "Begin a selection of lines, or drop it", id="log.select", show=False),
        Binding("c", "copy", "Copy the selected lines, or this one (OSC 52)", id="log.copy", show=False),
        Binding("left", "shift(-20)", "To the left", id="log.left", show=False),
        Binding("right", "shift(20)", "To the right", id="log.right", show=False),
    ]

    COMPONENT_CLASSES = {"logview--cursor", "logview--selected"}

    DEFAULT_CSS = """
    LogView { height: 1fr; overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }
    LogView > .logview--cursor { background: $primary 30%; }
    LogView > .logview--selected { background: $warning 30%; }
    LogView:nocolor > .logview--cursor { text-style: bold; }
    LogView:nocolor > .logview--selected { text-style: reverse; }
    """

    class Changed(Message):
        """What the line above the log tells is another."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, LogView.Changed)

    class Asked(Message):
        """A text to look for is to be typed."""

    class Full(Message):
        """The log alone, or with all around it."""

    class Copied(Message):
        """Lines for the clipboard."""

        def __init__(self, text: str, count: int) -> None:
            super().__init__()
            self.text = text
            self.count = count

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.log_lines = LogLines()
        self.following = True
        self.wrapping = False
        self.stamping = False
        self.needle = ""
        self.cursor = 0
        self._anchor: int | None = None
        """Where the selection began."""
        self._marks: dict[int, list[str]] = {}
        """Line to the marks after it."""
        self._rows: list[_Row] = []
        self._first: list[int] = []
        """Of each line, its first row."""
        self._left = 0
        self._widest = 0
        self.matches: list[int] = []
        """Lines that hold the needle."""

    # ------------------------------------------------------------------ lines

    def feed(self, part: Part) -> None:
        """Show some more of the log."""
        if not part.text and not part.whole:
            return
        before = len(self.log_lines.lines)
        gone = self.log_lines.feed(part)
        if gone:
            kept = not part.whole
            self._marks = {line - gone: marks for line, marks in self._marks.items() if kept and line >= gone}
            self.cursor = max(0, self.cursor - gone) if kept else self.cursor
            self._anchor = None if self._anchor is None or self._anchor < gone else self._anchor - gone
        del before
        self._lay_out()

    @property
    def lines(self) -> list[str]:
        return self.log_lines.lines

    def _lay_out(self) -> None:
        """Which row shows what, as of now; what is in sight stays where it is."""
        width = max(1, self.size.width - self.scrollbar_size_vertical - (_STAMP if self.stamping else 0))
        rows: list[_Row] = []
        self._first = []
        self._widest = 0
        for number, line in enumerate(self.lines):
            self._first.append(len(rows))
            length = len(line) if line.isascii() else cell_len(line)
            self._widest = max(self._widest, length)
            if self.wrapping and length > width:
                # Cut by characters: of wide ones fewer fit, and the rest of the row stays empty.
                step = width if line.isascii() else max(1, width // 2)
                rows += [_Row(number, start) for start in range(0, len(line), step)]
            else:
                rows.append(_Row(number))
            rows += [_Row(number, 0, mark) for mark in self._marks.get(number, ())]
        self._rows = rows
        self.cursor = max(0, min(self.cursor, len(self.lines) - 1))
        self._match()
        self.virtual_size = Size(self.size.width, len(rows))
        if self.following:
            self.cursor = max(0, len(self.lines) - 1)
            self.scroll_to(y=len(rows), animate=False, force=True)
        self.refresh()
        self.post_message(self.Changed())

    def on_resize(self, event: events.Resize) -> None:
        self._lay_out()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        at = y + self.scroll_offset.y
        if at >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        row = self._rows[at]
        if row.mark:
            return Strip([Segment(f"── {row.mark} ".ljust(width, "─")[:width], _MARK)]).adjust_cell_length(width)
        base = self.rich_style
        if self._selected(row.line):
            base += self.get_component_rich_style("logview--selected", partial=True)
        elif row.line == self.cursor and self.has_focus:
            base += self.get_component_rich_style("logview--cursor", partial=True)
        segments: list[Segment] = []
        if self.stamping:
            seen = self.log_lines.times[row.line]
            stamp = time.strftime("%H:%M:%S", time.localtime(seen)) if seen and not row.start else ""
            segments.append(Segment(stamp.ljust(_STAMP), base + _DIM))
        text = self.lines[row.line]
        if self.wrapping:
            room = max(1, width - self.scrollbar_size_vertical - (_STAMP if self.stamping else 0))
            step = room if text.isascii() else max(1, room // 2)
            text = text[row.start : row.start + step]
        else:
            text = text[self._left :]
        segments += self._highlighted(text, base)
        return Strip(segments).adjust_cell_length(width, base)

    def _highlighted(self, text: str, base: Style) -> list[Segment]:
        if not self.needle:
            return [Segment(text, base)]
        look = text if self._exact else text.lower()
        segments: list[Segment] = []
        at = 0
        while (found := look.find(self._wanted, at)) >= 0:
            end = found + len(self._wanted)
            segments += [Segment(text[at:found], base), Segment(text[found:end], base + _FOUND)]
            at = end
        return [*segments, Segment(text[at:], base)]

    def _selected(self, line: int) -> bool:
        if self._anchor is None:
            return False
        low, high = sorted((self._anchor, self.cursor))
        return low <= line <= high

    # ------------------------------------------------------------------ searching

    @property
    def _exact(self) -> bool:
        """A capital letter means itself."""
        return self.needle != self.needle.lower()

    @property
    def _wanted(self) -> str:
        return self.needle if self._exact else self.needle.lower()

    def _match(self) -> None:
        if not self.needle:
            self.matches = []
        elif self._exact:
            self.matches = [number for number, line in enumerate(self.lines) if self.needle in line]
        else:
            wanted = self._wanted
            self.matches = [number for number, line in enumerate(self.lines) if wanted in line.lower()]

    def look_for(self, needle: str, *, origin: int | None = None, line: str | None = None) -> None:
        """Show where the text stands: in the line that reads so, else the last place at or above `origin`, or where the
        cursor is, else the last."""
        self.needle = needle
        self._match()
        meant = [number for number in self.matches if line is not None and line in self.lines[number]]
        if meant:
            self._go(meant[-1])
        elif self.matches:
            start = self.cursor if origin is None else origin
            above = [line for line in self.matches if line <= start]
            self._go(above[-1] if above else self.matches[-1])
        self.refresh()
        self.post_message(self.Changed())

    def action_search(self) -> None:
        self.post_message(self.Asked())

    def action_found(self, by: int) -> None:
        if not self.matches:
            return
        if by > 0:
            later = [line for line in self.matches if line > self.cursor]
            self._go(later[0] if later else self.matches[0])
        else:
            earlier = [line for line in self.matches if line < self.cursor]
            self._go(earlier[-1] if earlier else self.matches[-1])

    # ------------------------------------------------------------------ moving

    def _go(self, line: int) -> None:
        self.cursor = max(0, min(line, len(self.lines) - 1))
        # Who looks at a line wants it to stay; who goes to the end wants what comes.
        self.following = self.cursor == len(self.lines) - 1
        if self._first:
            first = self._first[self.cursor]
            last = self._first[self.cursor + 1] - 1 if self.cursor + 1 < len(self._first) else len(self._rows) - 1
            top, height = self.scroll_offset.y, max(1, self.size.height)
            if first < top:
                self.scroll_to(y=first, animate=False, force=True)
            elif last >= top + height:
                self.scroll_to(y=last - height + 1, animate=False, force=True)
        self.refresh()
        self.post_message(self.Changed())

    def action_step(self, by: int) -> None:
        self._go(self.cursor + by)

    def action_leap(self, pages: float) -> None:
        self._go(self.cursor + int(pages * max(1, self.size.height)))

    def action_edge(self, end: int) -> None:
        self._go(len(self.lines) if end else 0)

    def action_shift(self, by: int) -> None:
        if not self.wrapping:
            self._left = max(0, min(self._left + by, self._widest - 10))
            self.refresh()

    # ------------------------------------------------------------------ looks

    def action_wrap(self) -> None:
        self.wrapping = not self.wrapping
        self._left = 0
        self._lay_out()
        self._go(self.cursor)

    def action_follow(self) -> None:
        self.following = not self.following
        self._lay_out()

    def action_stamps(self) -> None:
        self.stamping = not self.stamping
        self._lay_out()

    def action_full(self) -> None:
        self.post_message(self.Full())

    def action_mark(self) -> None:
        if self.lines:
            self._marks.setdefault(len(self.lines) - 1, []).append(time.strftime("mark %H:%M:%S"))
            self._lay_out()

    # ------------------------------------------------------------------ copying

    def action_select(self) -> None:
        self._anchor = None if self._anchor is not None else self.cursor
        self.following = False
        self.refresh()
        self.post_message(self.Changed())

    def action_copy(self) -> None:
        if not self.lines:
            return
        low, high = sorted((self.cursor if self._anchor is None else self._anchor, self.cursor))
        lines = self.lines[low : high + 1]
        self._anchor = None
        self.refresh()
        self.post_message(self.Copied("\n".join(lines) + ("\n" if len(lines) > 1 else ""), len(lines)))

    @property
    def selected(self) -> int:
        """Lines of the selection; 0 without one."""
        return 0 if self._anchor is None else abs(self._anchor - self.cursor) + 1


class LogPanel(Container):
    """A log with the line that tells how it is shown, and the one in which a search is typed."""

    DEFAULT_CSS = """
    LogPanel { height: 1fr; }
    LogPanel #log-find { display: none; height: 1; border: none; padding: 0; }
    LogPanel.-finding #log-find { display: block; }
    """

    def compose(self) -> ComposeResult:
        yield Line(id="log-state")
        yield LogView(id="log-view")
        yield TypedLine(id="log-find", placeholder="text to look for; a capital letter means itself", compact=True)

    @property
    def view(self) -> LogView:
        return self.query_one(LogView)

    @property
    def alive(self) -> bool:
        """Whether there is still something to draw on."""
        return self.is_attached and bool(self.query(LogView)) and bool(self.query("#log-state"))

    def on_mount(self) -> None:
        self._origin = 0
        self._before = ""
        self._trouble: Cell | None = None
        self._draw()

    def trouble(self, cell: Cell | None) -> None:
        """Why nothing new comes; None: it does."""
        if cell != self._trouble:
            self._trouble = cell
            self._draw()

    @on(LogView.Changed)
    def _draw(self) -> None:
        if not self.alive:
            return
        view = self.view
        left: list[Cell] = [(f"{len(view.lines)} lines", "")]
        for name, on_ in (("follow", view.following), ("wrap", view.wrapping), ("times", view.stamping)):
            left.append((f"  {name} {'on' if on_ else 'off'}", "ok" if on_ else "dim"))
        if view.selected:
            left.append((f"  {view.selected} selected, c copies", "warn"))
        if self._trouble is not None:
            left += [("  ", ""), self._trouble]
        right: list[Cell] = []
        if view.needle:
            place = view.matches.index(view.cursor) + 1 if view.cursor in view.matches else "-"
            tone = "head" if view.matches else "bad"
            right = [(f"/{view.needle} ", "head"), (f"{place}/{len(view.matches)}", tone)]
        self.query_one("#log-state", Line).show(left, right)

    # ------------------------------------------------------------------ typing a search

    @on(LogView.Asked)
    def _ask(self) -> None:
        self._origin, self._before = self.view.cursor, self.view.needle
        self.add_class("-finding")
        find = self.query_one("#log-find", Input)
        find.value = ""
        find.focus()

    @on(Input.Changed, "#log-find")
    def _typed(self, event: Input.Changed) -> None:
        if self.has_class("-finding"):
            self.view.look_for(event.value, origin=self._origin)

    @on(Input.Submitted, "#log-find")
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self._end()

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape" and self.has_class("-finding"):
            event.stop()
            self.view.look_for(self._before, origin=self._origin)
            self._end()

    def _end(self) -> None:
        self.remove_class("-finding")
        self.view.focus()
