"""Ctrl+S: what a screen shows, written to a file, and where it went."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from core.errors import SkydeckError
from tui import export
from tui.widgets.bar import Bar

if TYPE_CHECKING:
    from pathlib import Path

    from tui.screens.acting import ActingScreen


def ask(screen: ActingScreen) -> None:
    """Which format; the next key answers."""
    answer = screen.query_one(Bar).ask(f"Write {screen.exported}:", export.CHOICES, tone="on")

    async def chosen() -> None:
        if (form := await answer) is not None:
            begin(screen, form, "")

    screen.run_worker(chosen(), group="act")


def begin(screen: ActingScreen, form: str, path: str) -> None:
    """Write it; the path is told when it is done."""
    if form not in export.FORMATS:
        screen.app.tell(f"there is no format {form!r}", f"There are {', '.join(export.FORMATS)}.", tone="warn")
    elif form == "svg":
        # The question or the line that asked for it is to be gone from the picture.
        screen.query_one(Bar).hush()
        screen.set_timer(0.05, lambda: _picture(screen, export.target("screen", form, path)))
    else:
        screen.run_worker(_rows(screen, form, export.target(screen.view.kind, form, path)), group="export")


def _picture(screen: ActingScreen, path: Path) -> None:
    try:
        export.picture(screen, path)
    except OSError as bad:
        _not_written(screen, path, bad, ":screenshot PATH")
    else:
        screen.app.tell(f"wrote {path}", tone="ok")


async def _rows(screen: ActingScreen, form: str, path: Path) -> None:
    loop, wanted = asyncio.get_running_loop(), screen.to_export()

    def written(count: int) -> None:
        loop.call_soon_threadsafe(lambda: screen.app.tell(f"{count} rows in {path.name} so far", tone="ok"))

    try:
        count = await asyncio.to_thread(export.rows, screen.app.seat, wanted, form, path, written)
    except OSError as bad:
        _not_written(screen, path, bad, f":export {form} PATH")
    except SkydeckError as bad:
        screen.app.tell(f"{path} was not written: {bad.title}", bad.hint, tone="bad")
    else:
        screen.app.tell(f"wrote {count} rows to {path}", tone="ok")


def _not_written(screen: ActingScreen, path: Path, bad: OSError, otherwise: str) -> None:
    screen.app.tell(f"{path} was not written: {bad.strerror}", f"Name another: {otherwise}", tone="bad")
