"""The Log tab of a detail page: the panel, and the loop that keeps it up to date while it is looked at."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import on, work

from tui.console.lines import MOST
from tui.console.logview import LogPanel, LogView
from tui.keymap import all_shown
from tui.screens.acting import ActingScreen
from tui.verbs import Row
from tui.view import Source, Tab
from tui.widgets.bar import Bar, footer

if TYPE_CHECKING:
    from core.consoles.client import Log

LOOK_AGAIN = 1.0
"""Seconds between two looks: each asks the host for what is new, and no more."""

_FOOT = (
    ("log.search", "/", "find"),
    ("log.next", "n", "next"),
    ("log.follow", "s", "follow"),
    ("log.wrap", "w", "wrap"),
    ("log.times", "t", "times"),
    ("log.full", "f", "full"),
    ("log.mark", "m", "mark"),
    ("log.select", "V", "select"),
    ("log.copy", "c", "copy"),
)
"""(binding id, its key as declared, label)."""


class LogPage(ActingScreen):
    """A page with tabs, of which one may be a console log."""

    row: Row
    tabs: tuple[Tab, ...]
    tab: int
    find: tuple[str, str] | None = None
    """What is looked for in the log at once, and the line that is meant."""

    DEFAULT_CSS = """
    LogPage #log { display: none; padding: 0 1; }
    LogPage.-logging #log { display: block; }
    LogPage.-logging #page { display: none; }
    LogPage.-full #header, LogPage.-full #crumb, LogPage.-full #tabs, LogPage.-full Bar { display: none; }
    """

    @property
    def logging(self) -> bool:
        return self.tabs[self.tab].source is Source.LOG

    def turned(self) -> None:
        """Another tab is in front."""
        self.set_class(self.logging, "-logging")
        if self.logging:
            self.query_one(LogView).focus()
            self._watch_log()
        else:
            self.remove_class("-full")
            self.query_one("#page").focus()

    @work(group="log", exclusive=True)
    async def _watch_log(self) -> None:
        """Read on, for as long as the log is in front; a connection that ends is opened again."""
        from core.errors import SkydeckError

        panel = self.query_one(LogPanel)
        log: Log | None = None
        try:
            while self.logging and panel.alive:
                try:
                    log = log or await self.app.seat.open_log(self.row["id"], MOST)
                    part = await log.read(MOST)
                    trouble = None
                except (SkydeckError, OSError) as bad:
                    part, trouble = None, bad
                if not panel.alive:
                    return  # taken down while it was asked
                if trouble is not None:
                    panel.trouble((f"no console: {getattr(trouble, 'title', str(trouble))}", "bad"))
                if part is None and log is not None:
                    await log.close()
                    log = None
                elif part is not None:
                    panel.trouble(None if panel.view.lines or part.text.strip() else ("it has said nothing yet", "dim"))
                    panel.view.feed(part)
                    if self.find is not None:
                        (needle, line), self.find = self.find, None
                        panel.view.look_for(needle, line=line)
                await asyncio.sleep(LOOK_AGAIN)
        finally:
            if log is not None:
                await log.close()

    def draw_keys(self) -> None:
        if not self.logging:
            super().draw_keys()
            return
        moved = self.app.keys.keys
        keys = [(all_shown(moved[id]) if id in moved else key, label, True) for id, key, label in _FOOT]
        self.query_one(Bar).keys(lambda width: footer(keys, width))

    @on(LogView.Full)
    def _full(self) -> None:
        self.toggle_class("-full")

    @on(LogView.Copied)
    def _copied(self, event: LogView.Copied) -> None:
        if self.app.copy(event.text):
            self.app.tell(f"copied {event.count} line{'s' if event.count != 1 else ''}", tone="ok")
