"""`make picture`: the app drawn by itself, for README and docs: docs/pictures/*.svg.

A scene is a size, the keys that lead to it, and a text that is on the screen when it stands still. The cloud is the
tests' seeded one, with its frozen clock, ids and metrics, so that a picture changes only when the app does; a test
draws them all again and compares.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
import tempfile
from pathlib import Path

from textual.widgets import Input

from core import cloud
from core.identity import quotas
from tests.lab.hosts import REPOSITORY
from tests.tui import measures, seed
from tests.tui.driving import Driver, driven
from tui.locator import Locator

FOLDER = REPOSITORY / "docs" / "pictures"
HOUR = 3_600_000_000
"""Microseconds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    name: str
    """Of the file, without its ending."""
    keys: tuple[str, ...]
    shows: str
    """On the screen when the keys have done their work."""
    at: str = "instance"
    """The list it begins in."""
    size: tuple[int, int] = (110, 30)


SCENES = (
    Scene(name="list", keys=("j", "j", "space", "j"), shows="marks:1"),
    Scene(name="launch", keys=("n",), shows="quota after"),
    Scene(name="detail", keys=("G", "d"), shows="Overview", size=(120, 32)),
    Scene(name="pulse", keys=("colon", *"pulse", "enter"), shows="Needs attention", size=(120, 32)),
    Scene(name="topology", keys=("colon", *"topology", "enter"), shows="app", at="network"),
    Scene(name="why", keys=("slash", *"lb", "enter", "W"), shows="no valid host"),
)


async def draw(scene: Scene, home: Path) -> str:
    """The app's own SVG of the scene."""
    config, store, ctx = seed.fresh(home)
    seed.populate(store, ctx, instances=18)
    measures.fill(config, store)
    with store.write() as session:
        cloud.take_lease(session, owner="picture", lasts=HOUR)  # the app then sees an engine
        limits = {"cores": 80, "ram": 163840, "instances": 42}
        quotas.update(session, ctx, ctx.project_id, ctx.project_name, limits)
    try:
        async with driven((config, store), scene.size, Locator(kind=scene.at)) as driver:
            await driver.until("live")
            for key in scene.keys:
                await driver.press(key)
            await driver.until(scene.shows)
            for field in driver.app.screen.query(Input):
                field.cursor_blink, field._cursor_visible = False, True  # wherever in its blinking it was
            await _settled(driver)
            return driver.app.export_screenshot(title="skydeck")
    finally:
        store.close()


async def _settled(driver: Driver) -> None:
    """Wait until what was asked for has been read and drawn."""
    before, same = "", 0
    while same < 4:
        await driver.pilot.pause(0.1)
        now = driver.text
        same = same + 1 if now == before else 0
        before = now


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    for scene in SCENES:
        with tempfile.TemporaryDirectory() as home:
            (FOLDER / f"{scene.name}.svg").write_text(await draw(scene, Path(home)))
        print(FOLDER / f"{scene.name}.svg", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main())
