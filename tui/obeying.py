"""What the app does with a line that was typed after `:`, and what is kept of it and of the settings."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from textual import work
from textual.app import App

from tui import readonly, registry
from tui.history import History
from tui.locator import parse
from tui.screens.acting import ActingScreen
from tui.settings import Settings, save

if TYPE_CHECKING:
    from core.config import Places
    from tui.app import Skydeck
    from tui.screens.browser import BrowserScreen
    from tui.seat import Seat


class ObeyingApp(App[None], inherit_bindings=False):
    """The app's half that obeys."""

    seat: Seat
    settings: Settings
    _histories: dict[str, History]

    @property
    def places(self) -> Places:
        """Where settings are saved and histories kept."""
        raise NotImplementedError

    @property
    def browser(self) -> BrowserScreen:
        raise NotImplementedError

    def tell(self, title: str, hint: str = "", *, tone: str, about: tuple[str, str] | None = None) -> None:
        """Show a message at the bottom for a while, and keep it."""
        raise NotImplementedError

    @property
    def acting(self) -> ActingScreen:
        """The page in front, whatever dialog stands before it."""
        return next(screen for screen in reversed(self.screen_stack) if isinstance(screen, ActingScreen))

    def submit(self, line: str) -> None:
        """What a person typed after `:`: a command, a bookmark's name, or a locator."""
        word, locator = parse(line)
        if word.lower() in registry.COMMANDS:
            self.command(word.lower(), line.strip().removeprefix(":").partition(" ")[2].strip())
        elif (kind := registry.kind_of(word)) is not None:
            while len(self.screen_stack) > 1:
                self.pop_screen()
            self.browser.go_to(dataclasses.replace(locator, kind=kind))
        elif word in self.settings.bookmarks and parse(self.settings.bookmarks[word])[0] != word:
            self.submit(self.settings.bookmarks[word])
        elif word:
            self.tell(f"there is no list called {word!r}", "Type : and look at what is offered.", tone="warn")

    def history(self, sign: str) -> History:
        """What was typed before after `:` or `/`."""
        if sign not in self._histories:
            self._histories[sign] = History(self.places.state / {":": "commands", "/": "filters"}[sign])
        return self._histories[sign]

    def command(self, word: str, argument: str = "") -> None:
        """`:q` and its like, and what was typed after it."""
        command = registry.COMMANDS[word]
        if self.seat.read_only and readonly.changing_command(command.words[0]):
            self.tell(f"no :{word}: {readonly.WHY}", readonly.HINT, tone="warn")
        else:
            command.run(cast("Skydeck", self), argument)

    # ------------------------------------------------------------------ settings

    def change_settings(self, **changes: Any) -> None:
        """For this session."""
        self.settings = dataclasses.replace(self.settings, **changes)

    @work(group="settings")
    async def save_settings(self, changes: Mapping[str, Any]) -> None:
        """Into the file, for the sessions to come; as tui.settings.save takes them."""
        from core.errors import Invalid

        try:
            await asyncio.to_thread(save, self.places.file, changes)
        except (Invalid, OSError) as bad:
            self.tell(f"the settings could not be saved: {bad}", getattr(bad, "hint", ""), tone="bad")
