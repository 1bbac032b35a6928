"""The way here: which pages stand behind this one, as the beginning of its title line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui.view import Cell

if TYPE_CHECKING:
    from textual.screen import Screen

FIRST = 2
"""Pages named at most; of a longer way the nearest ones, after `… > `."""


def trail(screen: Screen[Any]) -> list[Cell]:
    """`Networks > app > used by of app > `: each page behind says its own `trail_name`."""
    stack = screen.app.screen_stack
    behind = stack[: stack.index(screen)] if screen in stack else stack
    names = [name for one in behind if (name := getattr(one, "trail_name", ""))]
    shown = [*(["…"] if len(names) > FIRST + 1 else []), *names[-FIRST - 1 :]]
    return [(f"{name} > ", "dim") for name in shown]
