"""The pulse: the cloud in numbers that can be walked over, each of which opens the list it counted. `:pulse`.

It reads aggregates, and not more often than a small share of the time: however large the cloud, typing stays fast.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.app import ComposeResult

from tui.screens.acting import ActingScreen
from tui.verbs import GENERAL, OPEN, Needs, Row, Verb
from tui.view import Cell, View
from tui.views.pulse import Spot, tiles
from tui.widgets.bar import Bar
from tui.widgets.lines import Line
from tui.widgets.tiles import Tiles

if TYPE_CHECKING:
    from core.metrics import Latest
    from core.pulse import Pulse
    from tui.app import Skydeck

SHARE = 40
"""Reading may take one part in so many of the time."""

MEASURED_EVERY = 10.0
"""Seconds: metrics are kept in steps of as much."""

_HERE = ("command", "back", "help", "messages", "refresh", "operations", "all_projects", "projects")

VIEW = View(
    kind="pulse",
    title="Pulse",
    aliases=("pulse",),
    columns=(),
    verbs=(
        dataclasses.replace(OPEN, help="The list of exactly what this number counts", needs=Needs.NOTHING),
        *(
            Verb(name=name, key=key, shown_key=shown, label=label, help=help, needs=Needs.NOTHING, action=name)
            for name, key, shown, label, help in (
                ("instances", "i", "i", "instances", "The list of instances"),
                ("hosts", "H", "H", "hosts", "The list of hosts"),
            )
        ),
    ),
)
"""Not a list of the registry: it has no listing, and a screen of its own."""


class PulseScreen(ActingScreen):
    """Follows the store while open; what is behind it stays as it was."""

    app: Skydeck
    view = VIEW

    def __init__(self) -> None:
        super().__init__()
        self._wake = asyncio.Event()
        self._pulse: Pulse | None = None
        self._measured: Mapping[str, Latest] = {}
        self._measured_at = -MEASURED_EVERY
        self.cost = 0.0
        """Seconds the last reading took, on its thread."""
        self.bind_verbs()

    def compose(self) -> ComposeResult:
        yield Line(id="header")
        yield Line(id="crumb")
        tiles = Tiles(glyphs=self.app.settings.glyphs, id="tiles")
        tiles.cursor = self.app.stood.get(VIEW.kind)  # where it was when the pulse was left
        yield tiles
        yield Bar()

    def on_mount(self) -> None:
        self.app.rows_changed.subscribe(self, self._news)
        self.query_one(Tiles).focus()
        self._draw()
        self._wake.set()
        self._follow()
        self.set_interval(1.0, self._tick)

    # ------------------------------------------------------------------ reading

    def _news(self, _: object) -> None:
        self._wake.set()

    def acted(self) -> None:
        self._wake.set()

    @work(group="follow", exclusive=True)
    async def _follow(self) -> None:
        """Read whenever something changed, and then rest for as long as the reading was dear."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self.app.seat.ready:
                await self._look()
                await asyncio.sleep(SHARE * self.cost)

    async def _look(self) -> None:
        from core import metrics, pulse
        from core.errors import SkydeckError

        seat = self.app.seat
        ctx, config = seat.ctx, seat.config
        measure = time.monotonic() - self._measured_at >= MEASURED_EVERY
        before, now = self._measured, seat.now()

        def read(session: Any) -> tuple[Pulse, Mapping[str, Latest], float]:
            began = time.perf_counter()
            found = pulse.read(session, ctx)
            measured = before
            if measure and found.hosts is not None:
                measured = metrics.latest(config, [host.id for host in found.hosts if host.up], now=now)
            return found, measured, time.perf_counter() - began

        try:
            found, measured, self.cost = await seat.read(read)
        except SkydeckError as bad:
            self.app.tell(bad.title, bad.hint, tone="bad")
            return
        except Exception as bad:  # noqa: BLE001  the loop's edge: a store in trouble must not end the app
            self.app.tell(f"the store cannot be read: {str(bad).splitlines()[0]}", "It is tried again.", tone="bad")
            return
        if measure:
            self._measured_at = time.monotonic()
        if self._alive:
            self._pulse, self._measured = found, measured
            self._show()

    @property
    def _alive(self) -> bool:
        """Whether there is still something to draw on: what was read may come when the screen is being taken down."""
        return self.is_attached and bool(self.query(Tiles)) and bool(self.query("#prompt-line"))

    def _show(self) -> None:
        if self._pulse is not None and self._alive:
            seat = self.app.seat
            self.query_one(Tiles).show(
                tiles(
                    self._pulse,
                    self._measured,
                    project=seat.ctx.project_name,
                    now=seat.now(),
                    glyphs=self.app.settings.glyphs,
                )
            )
        self._draw()

    # ------------------------------------------------------------------ drawing

    def _tick(self) -> None:
        """Ages grow; measurements come without the store's knowing."""
        if time.monotonic() - self._measured_at >= MEASURED_EVERY:
            self._wake.set()
        self._show()

    def _draw(self) -> None:
        if not self._alive:
            return
        self.draw_header(self.app.header)
        ctx = self.app.seat.ctx if self.app.seat.ready else None
        where = "" if ctx is None else "all" if ctx.all_projects else ctx.project_name
        left: list[Cell] = [(f"Pulse({where})", "head")]
        spot = self.spot
        if spot is not None and spot.locator is not None:
            from tui import registry

            shown = spot.locator.show(registry.VIEWS[spot.locator.kind].aliases[0])
            left += [("   Enter opens ", "dim"), (shown, "key")]
        self.query_one("#crumb", Line).show(left)
        self.draw_keys()
        self.query_one(Bar).status([(":pulse", "dim")], [("q", "key"), (" back", "dim")])

    @property
    def spot(self) -> Spot | None:
        return self.query_one(Tiles).spot if self.query(Tiles) else None

    @on(Tiles.Moved)
    def _moved(self) -> None:
        spot = self.spot
        if spot is not None:
            self.app.stood[VIEW.kind] = spot.key
        self._draw()

    @on(Tiles.Opened)
    def _opened(self) -> None:
        self.action_do("open")

    # ------------------------------------------------------------------ going

    def under_cursor(self) -> Row | None:
        return None

    def general(self) -> Sequence[Verb]:
        return [verb for verb in GENERAL if verb.name in _HERE]

    def go_open(self, row: Row | None) -> None:
        spot = self.spot
        if spot is None:
            return
        if spot.locator is None:
            self.app.tell("there is no list of that", "j and k go to the next number", tone="ok")
            return
        browser = self.app.browser
        browser.in_front = "pulse"
        self.dismiss()
        browser.go_to(spot.locator)

    def go_instances(self, row: Row | None) -> None:
        self.dismiss()
        self.app.browse("instance")

    def go_hosts(self, row: Row | None) -> None:
        self.dismiss()
        self.app.browse("host")

    def go_operations(self, row: Row | None) -> None:
        self.dismiss()
        self.app.browse("operation")

    def go_projects(self, row: Row | None) -> None:
        self.dismiss()
        self.app.browser.go_projects(None)

    def go_back(self, row: Row | None) -> None:
        self.dismiss()

    def go_refresh(self, row: Row | None) -> None:
        self._measured_at = -MEASURED_EVERY
        self._wake.set()

    def go_all_projects(self, row: Row | None) -> None:
        self.app.browser.go_all_projects(None)
        self._wake.set()

    def go_command(self, row: Row | None) -> None:
        """Where to go from here is typed where lists are."""
        self.dismiss()
        self.app.browser.go_command(None)
