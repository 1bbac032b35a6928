"""The app, driven: opened on a store, pressed, and read back as a grid of text."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from textual.pilot import Pilot

from core.config import Config
from core.store import Store
from tui.app import Skydeck
from tui.locator import Locator
from tui.seat import Seat
from tui.settings import Settings

SMALL = (80, 24)
LARGE = (140, 40)
GOLDEN = Path(__file__).parents[1] / "golden" / "tui"

Cloud = tuple[Config, Store]


class Driver:
    """A running app and its pilot."""

    def __init__(self, app: Skydeck, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def text(self) -> str:
        """What is on the screen, without colours; blanks at line ends left out."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips) + "\n"

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def cursor(self) -> str:
        """The line under the cursor."""
        return next((line for line in self.lines if line.startswith(">")), "")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Characters, one key each."""
        await self.press(*({" ": "space", "/": "slash", "=": "equals_sign", "-": "minus"}.get(c, c) for c in text))

    async def until(self, seen: Callable[[], object] | str, *, tries: int = 200) -> None:
        """Wait until a condition holds, or a text is on the screen."""
        for _ in range(tries):
            if seen in self.text if isinstance(seen, str) else seen():
                return
            await self.pilot.pause(0.02)
        raise AssertionError(f"never came true: {seen}\n{self.text}")


@contextlib.asynccontextmanager
async def driven(
    cloud: Cloud,
    size: tuple[int, int] = SMALL,
    locator: Locator | None = None,
    *,
    project: str | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[Driver]:
    """The app on this cloud, its first rows read. No engine is started."""
    config, store = cloud
    app = Skydeck(Seat(config=config, store=store, project=project), locator, engine=False, settings=settings)
    async with app.run_test(size=size) as pilot:
        driver = Driver(app, pilot)
        await driver.until(lambda: app.browser.header is not None)
        await pilot.pause()
        yield driver


def same_as_golden(text: str, name: str) -> None:
    """Compare with tests/golden/tui/NAME.txt; UPDATE_GOLDENS=1 writes it anew."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDENS"):
        path.write_text(text)
    assert text == path.read_text(), f"{path} differs; look at it, then UPDATE_GOLDENS=1"
