"""Whole screens as pictures: what the text goldens cannot hold, colours above all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui import seed
from tests.tui.driving import LARGE, SMALL, Driver
from tui.app import Skydeck
from tui.seat import Seat

Snap = Callable[..., bool]


def keys(*pressed: str) -> Callable[[Pilot[None]], Any]:
    """Presses keys once the first rows are there."""

    async def press(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, Skydeck)
        driver = Driver(app, pilot)
        await driver.until(lambda: app.browser.header is not None)
        for key in pressed:
            await driver.press(key)
        # What the last key began may still be reading: the picture is of the screen at rest.
        before = ""
        while before != (before := driver.text):
            await pilot.pause(0.3)

    return press


@pytest.mark.parametrize(
    ("name", "size", "pressed"),
    [
        ("list-small", SMALL, ("j", "space", "j")),
        ("list-large", LARGE, ("j", "space", "j")),
        ("launch-small", SMALL, ("n",)),
        ("actions-small", SMALL, ("a",)),
        ("detail-large", LARGE, ("d",)),
    ],
)
def test_screen(snap_compare: Snap, tmp_path: Path, name: str, size: tuple[int, int], pressed: tuple[str, ...]) -> None:
    config, store, ctx = seed.fresh(tmp_path)
    seed.populate(store, ctx)
    app = Skydeck(Seat(config=config, store=store), None, engine=False)
    assert snap_compare(app, terminal_size=size, run_before=keys(*pressed))
    store.close()
