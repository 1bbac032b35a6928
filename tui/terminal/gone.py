"""The terminal went away, by a dropped link or a closed window: the app ends and leaves nothing; the engine goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tui.app import Skydeck

PATIENCE: Final = 5.0
"""Seconds for ending in order, after which it ends anyway: nobody is there to see it hang."""


def watch(app: Skydeck) -> None:
    """End with the terminal, from now on."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGHUP, signal.SIGTERM):
        loop.add_signal_handler(number, _end, app, number)


def _end(app: Skydeck, number: int) -> None:
    status = 128 + number
    last = threading.Timer(PATIENCE, os._exit, (status,))
    last.daemon = True
    last.start()
    app.exit(return_code=status)
