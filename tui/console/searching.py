"""`:logs TEXT`: a text looked for in the console logs of all instances, on all hosts at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from tui.text import safe
from tui.view import Cell
from tui.widgets.lines import Line, drawn
from tui.widgets.typed import TypedLine

if TYPE_CHECKING:
    from core.consoles.searching import Found, Search
    from tui.app import Skydeck

_NAME = 18


class LogsScreen(Screen[None]):
    """What is typed above is looked for; Enter on a line opens that instance's log there."""

    app: Skydeck

    DEFAULT_CSS = """
    LogsScreen #logs-find { background: $surface; border: none; height: 1; }
    LogsScreen OptionList, LogsScreen OptionList:focus {
        height: 1fr; background: $background; border: none; padding: 0;
    }
    """

    BINDINGS = [
        Binding("escape", "leave", "Back", id="logs.leave", show=False),
        Binding("q", "leave", "Back", id="logs.back", show=False),
        Binding("slash", "find", "Look for another text", id="logs.find", show=False),
        Binding("ctrl+r", "again", "Look again", id="logs.again", show=False),
        Binding("down", "results", "To the lines that were found", id="logs.results", show=False),
        Binding("j", "move(1)", "down", id="logs.down", show=False),
        Binding("k", "move(-1)", "up", id="logs.up", show=False),
        Binding("D", "deleted", "Instances that were deleted lately too, or not", id="logs.deleted", show=False),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self._deleted = False
        self._found: tuple[Found, ...] = ()

    def compose(self) -> ComposeResult:
        yield Line(id="crumb")
        yield TypedLine(self._text, placeholder="text to look for in all console logs", id="logs-find", compact=True)
        yield Line(id="logs-state")
        yield OptionList(id="logs-found", markup=False)
        yield Line(id="foot")

    def on_mount(self) -> None:
        self.query_one("#foot", Line).show(
            [
                *(("Enter", "key"), (" open its log  ", "")),
                *(("/", "key"), (" another text  ", "")),
                *(("D", "key"), (" deleted ones too  ", "")),
                *(("Ctrl+R", "key"), (" again  ", "")),
                *(("q", "key"), (" back", "")),
            ]
        )
        self._head()
        if self._text.strip():
            self.query_one(OptionList).focus()
            self.action_again()
        else:
            self.query_one(Input).focus()

    def _head(self) -> None:
        seat = self.app.seat
        where = "all projects" if seat.ctx.all_projects else seat.ctx.project_name
        deleted = ", deleted ones too" if self._deleted else ""
        self.query_one("#crumb", Line).show([("Console logs of ", "dim"), (safe(where), "head"), (deleted, "warn")])

    def _say(self, cells: list[Cell]) -> None:
        if self.is_attached:
            for line in self.query("#logs-state").results(Line):
                line.show(cells)

    @on(Input.Submitted, "#logs-find")
    def _entered(self, event: Input.Submitted) -> None:
        self._text = event.value
        self.action_again()

    def action_again(self) -> None:
        if self._text.strip():
            self._say([("asking the hosts…", "dim")])
            self._look(self._text)

    @work(group="logs", exclusive=True)
    async def _look(self, text: str) -> None:
        from core.errors import SkydeckError

        began = time.monotonic()
        try:
            search = await self.app.seat.search_logs(text, deleted=self._deleted)
        except (SkydeckError, OSError) as bad:
            self._say([("! ", "bad"), (getattr(bad, "title", str(bad)), "bad"), (f"  {getattr(bad, 'hint', '')}", "")])
            return
        if self.is_attached:
            self._show(search, time.monotonic() - began)

    def _show(self, search: Search, took: float) -> None:
        self._found = search.lines
        guests = len({line.instance_id for line in search.lines})
        left: list[Cell] = [
            (f"{len(search.lines)}{'+' if search.more else ''} lines", "head" if search.lines else "warn"),
            (f" of {guests} instances; {search.searched} searched in {took:.1f} s", ""),
        ]
        for host, why in search.silent[:2]:
            left.append((f"   {safe(host)}: {safe(why)}", "bad"))
        if len(search.silent) > 2:
            left.append((f"   and {len(search.silent) - 2} more hosts are silent", "bad"))
        self._say(left)
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(_line(line, self._text, self.size.width)) for line in search.lines])
        if search.lines:
            options.highlighted = 0
            options.focus()

    @on(OptionList.OptionSelected, "#logs-found")
    def _opened(self, event: OptionList.OptionSelected) -> None:
        found = self._found[event.option_index]
        if found.deleted:
            self._say(
                [(f"{safe(found.instance)} is deleted", "warn"), ("; its log is kept for a week, for searches", "")]
            )
        else:
            self._open(found)

    @work(group="logs-open", exclusive=True)
    async def _open(self, found: Found) -> None:
        from core import listing

        seat = self.app.seat
        ctx, wanted = seat.ctx, seat.listings["instance"]

        def read(session: Any) -> Any:
            return listing.one(session, ctx, wanted, found.instance_id)

        row = await seat.read(read)
        if not self.is_attached:
            return  # left while it was read
        if row is None:
            self._say([("that instance is gone", "warn")])
            return
        from tui import registry
        from tui.screens.detail import DetailScreen

        self.app.push_screen(DetailScreen(registry.VIEWS["instance"], row, "Log", find=(self._text, safe(found.text))))

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        if by > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()

    def action_results(self) -> None:
        self.query_one(OptionList).focus()

    def action_find(self) -> None:
        self.query_one(Input).focus()

    def action_deleted(self) -> None:
        self._deleted = not self._deleted
        self._head()
        self.action_again()

    def action_leave(self) -> None:
        if self.query_one(Input).has_focus and self._found:
            self.query_one(OptionList).focus()
        else:
            self.dismiss()


def _line(found: Found, text: str, width: int) -> Text:
    """A found line in one row, with what was looked for in sight and marked."""
    clock = time.strftime("%m-%d %H:%M:%S ", time.localtime(found.at)) if found.at else " " * 15
    name = safe(found.instance)
    head = min(_NAME, width // 5)
    line = drawn([(f"{name[:head]:<{head}} ", "off" if found.deleted else "head"), (clock, "dim")])
    room = max(20, width - line.cell_len - 2)
    shown = safe(found.text)
    start = shown.lower().find(text.lower())
    if start + len(text) > room:
        cut = max(0, start - room // 3)
        shown, start = "…" + shown[cut:], start - cut + 1
    body = Text(shown, no_wrap=True, end="")
    if start >= 0:
        body.stylize("bold reverse", start, start + len(text))
    body.truncate(room, overflow="ellipsis")
    line.append_text(body)
    return line
