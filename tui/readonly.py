"""Read-only mode: what would change anything is not there, neither as a key nor by any other way.

What looks is listed here by name; everything that is not is taken to change something. A new verb or command is
therefore hidden in read-only mode until somebody says that it only looks. The second fence stands in core.store: a
store that is read only refuses every transaction but one that asks for a ticket to look.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tui.verbs import Verb

WHY: Final = "this is read-only mode"
HINT: Final = "Nothing can be changed here. Start without --read-only, or take read_only out of config.toml."

LOOKING_ACTIONS: Final = frozenset(
    {
        *("open", "describe", "yaml", "events", "log", "copy", "trace", "topology"),
        *("command", "filter", "back", "history_back", "history_forward", "last"),
        *("all_projects", "projects", "enter_project"),
        *("mark", "mark_all", "mark_range", "clear_marks"),
        *("sort_left", "sort_right", "reverse", "wide", "columns", "faults", "refresh", "hold", "repeat"),
        *(f"recent_{at}" for at in range(1, 10)),
        *("menu", "operations", "messages", "help", "why"),
        *("open_target", "next_preset", "acts_of"),
        *("search", "used_by", "owner", "tree", "metrics", "pulse", "export", "bookmark"),
    }
)
"""Actions of the screens that change nothing in the cloud."""

LOOKING_COMMANDS: Final = frozenset(
    {
        *("quit", "q", "help", "messages", "topology", "why", "plan", "pulse", "audit", "aliases", "tree"),
        *("columns", "settings", "logs", "theme", "glyphs", "mouse", "export", "screenshot", "bm", "keys", "recent"),
    }
)
"""Words for `:` that are no list and change nothing in the cloud."""


def changes(verb: Verb) -> bool:
    """Whether the verb might change anything."""
    return verb.run is not None or verb.form is not None or verb.action not in LOOKING_ACTIONS


def changing_command(word: str) -> bool:
    """Whether `:word`, which is no list, might change anything."""
    return word not in LOOKING_COMMANDS


def offered(verbs: Iterable[Verb], *, read_only: bool) -> tuple[Verb, ...]:
    """The verbs that there are: all of them, or those that look."""
    return tuple(verb for verb in verbs if not (read_only and changes(verb)))
