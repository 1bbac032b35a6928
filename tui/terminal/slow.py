"""A terminal that does not read: frames are left out instead of waited for, and one that shows all follows.

The toolkit hands what it draws to a thread by a short queue, and stops the whole app when that is full: over a bad
link, or in a terminal that is held, nothing would be heard any more until somebody reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tui.app import Skydeck

WAITING: Final = 8
"""Frames that may wait to be read; the toolkit's queue holds 30, and leaving takes some."""

AGAIN: Final = 0.2
"""Seconds until it is looked whether they were."""


class Backlog:
    """Whether what is drawn still reaches the terminal."""

    def __init__(self, app: Skydeck) -> None:
        self._app = app
        self._behind = False

    def skip(self) -> bool:
        """Whether this frame is to be left out. All of the screen is then drawn as soon as there is room."""
        if not self._full():
            return False
        if not self._behind:
            self._behind = True
            self._app.set_timer(AGAIN, self._catch_up)
        return True

    def _full(self) -> bool:
        writer = getattr(self._app._driver, "_writer_thread", None)
        return writer is not None and writer._queue.qsize() >= WAITING

    def _catch_up(self) -> None:
        if self._full():
            self._app.set_timer(AGAIN, self._catch_up)
            return
        self._behind = False
        self._app.screen.refresh(layout=True)
