"""The app: `skydeck` without a command. It watches and asks; the engine, another process, does the work.

The first frame is drawn before core is imported: what is heavy comes after it, on a thread.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from textual import events, work
from textual._compositor import CompositorUpdate
from textual.actions import SkipAction
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.signal import Signal
from textual.widget import Widget

from tui import crash, registry
from tui.banner import Away
from tui.feed import Feed
from tui.fence import fenced
from tui.forms.kept import Kept
from tui.history import History
from tui.keymap import Keymap, declared
from tui.locator import Locator, parse
from tui.notes import Note, Notes
from tui.obeying import ObeyingApp
from tui.screens.acting import ActingScreen
from tui.screens.browser import BrowserScreen
from tui.seat import Seat
from tui.seen import Memory
from tui.settings import Settings, load, override
from tui.terminal import commands as terminal
from tui.terminal import gone, suited
from tui.terminal.clipboard import osc52
from tui.terminal.slow import Backlog
from tui.widgets.bar import Bar, Prompt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from core.config import Places
    from tui.glance import Header

ATTEND_AFTER = 1.0
"""Seconds after opening."""

OPEN_AGAIN = 2.0
"""Seconds between two attempts to open the store."""


class Skydeck(ObeyingApp, inherit_bindings=False):
    CSS_PATH = "app.tcss"
    TITLE = "skydeck"
    ENABLE_COMMAND_PALETTE = False
    """There is one of our own: tui.finding.palette."""
    HORIZONTAL_BREAKPOINTS = [(0, "-portrait"), (70, "-narrow"), (100, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (30, "-tall")]
    BINDINGS = [
        Binding("ctrl+q", "quit", "quit", id="app.quit", show=False, priority=True),
        Binding("ctrl+c", "stay", "does not quit", id="app.stay", show=False),
        Binding("ctrl+p", "find", "find anything", id="app.find", show=False, priority=True),
    ]

    def __init__(
        self,
        seat: Seat | None = None,
        locator: Locator | None = None,
        *,
        engine: bool = True,
        settings: Settings | None = None,
        places: Places | None = None,
    ) -> None:
        # Without colour, ANSI mode draws with bold and reverse only; the default would turn colours into greys.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self.seat = seat or Seat()
        self.settings = settings or Settings()
        """What holds now: the file's, and what the command line said instead."""
        self.seat.read_only = self.seat.read_only or self.settings.read_only
        self._places = places
        self.keys = Keymap({}, {})
        self._clashed: set[str] = set()
        self._histories: dict[str, History] = {}
        self.start_at = locator or Locator(kind=registry.FIRST)
        self.notes = Notes()
        self.stood: dict[str, str] = {}
        """Screen, such as `pulse`, to what its cursor stood on when it was left."""
        self.kept = Kept()
        self.feed: Feed | None = None
        self.rows_changed: Signal[None] = Signal(self, "rows changed")
        self._engine = engine
        self._memory: Memory | None = None
        self._opening: tuple[str, str] | None = None
        """Why the store cannot be opened, while it cannot."""
        self._engine_trouble = ""
        self._engine_missed = 0.0
        """Since when no engine is there, by time.monotonic(); 0 while there is one."""
        self._aimed: WeakKeyDictionary[events.Key, Widget | None] = WeakKeyDictionary()
        """Keys under way, and the widget that had the focus when they arrived."""
        terminal.begin(self)
        self._backlog = Backlog(self)

    @property
    def places(self) -> Places:
        """Where settings are saved and histories kept."""
        if self._places is None:
            self._places = self.seat.places()
        return self._places

    @property
    def memory(self) -> Memory | None:
        """What lists showed last time; None when the app is to begin in another project than the usual one."""
        if self._memory is None and not self.start_at.project:
            self._memory = Memory(self.places.state, self.seat.configured(), project=self.seat.project)
        return self._memory

    def get_default_screen(self) -> Screen[None]:
        return BrowserScreen(_without_project(self.start_at))

    @property
    def browser(self) -> BrowserScreen:
        screen = self.screen_stack[0]
        assert isinstance(screen, BrowserScreen)
        return screen

    @property
    def header(self) -> Header | None:
        """What the browser last read of the project."""
        return self.browser.header

    @property
    def away(self) -> Away:
        """What does not answer now."""
        header, feed = self.header, self.feed
        if header is None or header.engine or not self._engine or self.seat.read_only:
            self._engine_missed = 0.0
        elif not self._engine_missed:
            self._engine_missed = time.monotonic()
        return Away(
            opening=self._opening,
            silence=feed.silence if feed else 0.0,
            trouble=feed.trouble if feed else "",
            engine_gone=time.monotonic() - self._engine_missed if self._engine_missed else 0.0,
            engine_trouble=self._engine_trouble,
            hosts=header.down[:1] if header else (),
            hosts_more=len(header.down) - 1 if header else 0,
        )

    # ------------------------------------------------------------------ beginning and end

    def on_mount(self) -> None:
        if not self.is_headless:
            gone.watch(self)
        # After the first frame: importing core holds the interpreter for as long as drawing it takes.
        self.call_after_refresh(self._begin)

    @work(group="begin", exclusive=True)
    async def _begin(self) -> None:
        if self.settings.keymap:
            self._use_keymap()
        if not await self._open():
            self.set_timer(OPEN_AGAIN, self._begin)
            return
        loop = asyncio.get_running_loop()

        def changed() -> None:
            loop.call_soon_threadsafe(self.news)

        self.feed = Feed(self.seat.store, changed)
        self.feed.start()
        if self.settings.columns:
            self.browser.reshape()  # every column of the listing is known now
        if problems := self.keys.problems:
            for problem in problems:
                self.keep(problem, tone="warn")
            more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
            self.tell(f"{problems[0]}{more}", ":keys shows all keys and what is wrong with them", tone="warn")
        if self.start_at.project:
            self.browser.go_to(self.start_at)
        elif self.start_at.over:
            self.browser.go(self.start_at.over, None)
        self.browser.look_again()
        self.set_timer(ATTEND_AFTER, self._watch_alarms)
        if self._engine and not self.seat.read_only:
            # Looking after the engine imports as much again: the first rows come before it.
            self.set_timer(ATTEND_AFTER, self._attend)

    def _use_keymap(self) -> None:
        """Put the keys where the person wants them. What there is to move is known when every page has been imported,
        which the first frame does not wait for."""
        self.keys = Keymap(declared(), self.settings.keymap)
        self.set_keymap(self.keys.textual())
        for screen in self.screen_stack:
            if isinstance(screen, ActingScreen):
                screen.bind_verbs()

    async def _open(self) -> bool:
        try:
            await self.seat.open()
        except Exception as bad:  # noqa: BLE001  the loop's edge: whatever is wrong with a store is shown and tried again
            title, hint = getattr(bad, "title", str(bad)), getattr(bad, "hint", "")
            self._opening = (title.splitlines()[0] if title else type(bad).__name__, hint)
            self.browser.cannot_open(*self._opening)
            return False
        self._opening = None
        if self.settings.forbids_writing(self.seat.cloud):
            self.seat.only_look()
            self.browser.bind_verbs()
        return True

    @work(group="attend", exclusive=True)
    async def _attend(self) -> None:
        """See that an engine runs and keep it company: a background engine ends when nobody is there."""
        from core.errors import SkydeckError

        while True:
            try:
                await self.seat.call(self.seat.engine)
                self._engine_trouble = ""
                await self.seat.attend()
            except (SkydeckError, OSError) as bad:
                self._engine_trouble = str(bad)
            await asyncio.sleep(OPEN_AGAIN)

    def see_to_engine(self) -> None:
        """After work was enqueued."""
        if self._engine:
            self._start_engine()

    @work(group="engine", exclusive=True)
    async def _start_engine(self) -> None:
        from core.errors import SkydeckError

        try:
            await self.seat.call(self.seat.engine)
        except (SkydeckError, OSError) as bad:
            self.tell(f"accepted, but no engine works on it: {bad}", getattr(bad, "hint", ""), tone="bad")

    def news(self) -> None:
        """Somebody changed something."""
        self.rows_changed.publish(None)

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        """Every frame on its way to the terminal."""
        if self._backlog.skip():
            return
        super()._display(screen, fenced(renderable) if isinstance(renderable, CompositorUpdate) else renderable)

    def _fatal_error(self) -> None:
        """Textual's own shows all variables of every frame, and what they hold is not ours."""
        error = sys.exc_info()[1] or self._exception or RuntimeError("unknown")
        if not self._exit_renderables:  # of several the first is the cause
            self._exit_renderables.append(crash.told(error, self.places.home))
        self._close_messages_no_wait()

    def on_unmount(self) -> None:
        if self.feed is not None:
            self.feed.stop()
        self.seat.close()

    def declared_bindings(self) -> list[Binding]:
        """The app's own keys, for the help."""
        return [binding for binding in type(self).BINDINGS if isinstance(binding, Binding)]

    def handle_bindings_clash(self, clashed_bindings: set[Binding], node: DOMNode) -> None:
        """On one page, a key that was moved took another's place: said once."""
        for binding in clashed_bindings:
            if binding.id and binding.id not in self._clashed:
                self._clashed.add(binding.id)
                self.call_later(self.keep, f"keymap: {binding.key} no longer does {binding.id}", tone="warn")

    async def on_event(self, event: events.Event) -> None:
        """Typing ahead: a key goes to the widget that had the focus when it arrived, and comes back here when that had
        no use for it. When a key before it has moved the focus meanwhile (`/` opened the prompt, `S` asked), it was
        meant for the new one, not for the list's verbs."""
        if isinstance(event, events.Key):
            if event.is_forwarded and self._aimed.pop(event, self.focused) is not self.focused:
                event = events.Key(event.key, event.character)
            if not event.is_forwarded:
                self._aimed[event] = self.focused
        await super().on_event(event)

    # ------------------------------------------------------------------ saying

    def keep(self, title: str, hint: str = "", *, tone: str, about: tuple[str, str] | None = None) -> None:
        """Into the messages, without showing it. `about`: (kind, key) of the object that the message opens."""
        self.notes.add(Note(at=self.seat.now(), tone=tone, title=title, hint=hint, about=about))
        self.browser.draw_status()

    def tell(self, title: str, hint: str = "", *, tone: str, about: tuple[str, str] | None = None) -> None:
        """Show a message at the bottom for a while, and keep it."""
        self.keep(title, hint, tone=tone, about=about)
        for screen in reversed(self.screen_stack):
            if bars := screen.query(Bar):
                bars.first().say(title, hint, tone)
                return

    # ------------------------------------------------------------------ going

    def browse(self, kind: str) -> None:
        """Show a noun's list, whatever is in front of it."""
        if self.browser.locator.kind != kind:
            self.browser.visit(Locator(kind=kind))

    def redraw(self) -> None:
        """Everything once more: colours or marks are others than before."""
        self._invalidate_css()
        self.refresh_css(animate=False)
        for screen in self.screen_stack:
            screen.refresh(layout=True)
            for widget in screen.walk_children():
                widget.notify_style_update()
                widget.refresh()

    def copy(self, text: str) -> bool:
        """To the clipboard of the person's terminal, by OSC 52; says so and answers False for more than it takes."""
        self._clipboard = text
        sequence = osc52(text, os.environ)
        if sequence is None:
            self.tell(
                f"{len(text.encode())} bytes are more than a terminal's clipboard takes",
                "Ctrl+S writes a file.",
                tone="warn",
            )
            return False
        if self._driver is not None:
            self._driver.write(sequence)
        return True

    def copy_to_clipboard(self, text: str) -> None:
        self.copy(text)

    def action_stay(self) -> None:
        self.tell("Ctrl+C does not quit", ":q or Ctrl+Q does", tone="ok")

    def attach(self, instance: str, name: str) -> None:
        """The raw serial console, in place of the app until Ctrl+] is typed."""
        from tui.console import opening

        opening.attach(self, instance, name)

    @work(group="ssh", exclusive=True)
    async def log_in(self, instance: str, name: str) -> None:
        """ssh, in place of the app until it ends."""
        from tui.console import opening

        await opening.log_in(self, instance, name)

    @work(group="display", exclusive=True)
    async def show_display(self, instance: str, name: str) -> None:
        """An address at which a viewer sees the instance's display."""
        from tui.console import opening

        await opening.show_display(self, instance, name)

    @work(group="alarms", exclusive=True)
    async def _watch_alarms(self) -> None:
        """What guests tell on their consoles, said as it happens."""
        from tui.console.alarms import Alarms

        alarms, changed = Alarms(self), asyncio.Event()
        if not self.screen_stack:
            return  # the app ended while it began
        self.rows_changed.subscribe(self.browser, lambda _: changed.set())
        while True:
            try:
                await alarms.look()
            except Exception as bad:  # noqa: BLE001  the loop's edge: a store in trouble must not end the app
                self.log.info(f"no alarms: {bad}")
            await changed.wait()
            changed.clear()

    def action_find(self) -> None:
        """The palette, over any page; not over a question that waits for its answer, nor in the line for `:` and `/`,
        which goes through its history by this key."""
        from tui.finding.palette import Palette
        from tui.screens.acting import ActingScreen

        if isinstance(self.focused, Prompt):
            raise SkipAction
        if isinstance(self.screen, ModalScreen):
            return
        behind = self.screen if isinstance(self.screen, ActingScreen) else None
        self.push_screen(Palette(behind))


def _without_project(locator: Locator) -> Locator:
    """Where to begin before it is known which projects there are."""
    return Locator(kind=locator.kind, filter=locator.filter, sort=locator.sort)


def start(text: str | None, bookmarks: Mapping[str, str] | None = None) -> Locator:
    """The locator a person typed on the command line, or a bookmark's: `:bm NAME`, `:NAME`. Raises SystemExit for a
    list that does not exist."""
    word, locator = parse(text or "")
    if not word:
        return Locator(kind=registry.FIRST)
    kept = bookmarks or {}
    name = locator.project if word in ("bm", "bookmark") else "" if registry.known(word) else word
    if name in kept:
        return start(kept[name])
    if word in ("bm", "bookmark"):
        raise SystemExit(f"skydeck: there is no bookmark {name!r}; there are {', '.join(kept) or 'none'}")
    if word.startswith("/"):
        word, locator = "", parse(f"x {text}")[1]
    if word in ("pulse", "pu"):
        return Locator(kind=registry.FIRST, over="pulse")
    kind = registry.kind_of(word) if word else registry.FIRST
    if kind is None:
        lists = ", ".join(view.title.lower() for view in registry.VIEWS.values())
        raise SystemExit(f"skydeck: there is no list called {word!r}; there are {lists}")
    return Locator(kind=kind, project=locator.project, filter=locator.filter, sort=locator.sort)


def run(
    locator: str | None = None, *, read_only: bool = False, ascii_only: bool = False, theme: str | None = None
) -> None:
    """Open the app, at a locator such as `:i web /err` when given; the rest says otherwise than the settings' file.
    Raises SystemExit for a terminal it cannot use, and for settings that cannot be read."""
    from core import config
    from core.errors import Invalid

    if os.environ.get("TERM", "") in ("dumb", ""):
        raise SystemExit("skydeck: this terminal cannot draw (TERM=dumb); use the commands instead: skydeck --help")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SystemExit("skydeck: the app needs a terminal; use the commands instead: skydeck --help")
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)  # exported once, they would hide every later size from the toolkit
    places = config.places()
    try:
        wanted = override(load(places.file), read_only=read_only, ascii_only=ascii_only, theme=theme)
    except Invalid as bad:
        raise SystemExit(f"skydeck: {bad.title}\n  {bad.hint}") from bad
    chosen = suited(wanted, os.environ)
    app = Skydeck(locator=start(locator, chosen.bookmarks), settings=chosen, places=places)
    app.run(mouse=chosen.mouse)
    if app.return_code:
        raise SystemExit(app.return_code)
