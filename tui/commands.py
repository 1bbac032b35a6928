"""Words for `:` that are no list: one record each, from which come what `:` offers, its help and what it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tui.export import FORMATS
from tui.settings import GLYPHS, THEMES

if TYPE_CHECKING:
    from tui.app import Skydeck
    from tui.view import Cell


def _nothing(app: Skydeck, typed: str) -> Sequence[str]:
    return ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    words: tuple[str, ...]
    """The first is offered, the others are short for it."""
    help: str
    run: Callable[[Skydeck, str], None]
    """(app, what is typed after the word)."""
    usage: str = ""
    """What may follow the word: `[add] NAME`."""
    complete: Callable[[Skydeck, str], Sequence[str]] = _nothing
    """(app, what is typed after the word) to what that could be."""
    preview: Callable[[Skydeck, str], list[Cell]] | None = None
    """(app, what is typed after the word) to what it would do; shown while nothing is offered."""


def _goes(action: str) -> Callable[[Skydeck, str], None]:
    """To a page of the screen in front: its `go_<action>`."""

    def run(app: Skydeck, rest: str) -> None:
        app.acting.go(action, None)

    return run


def _quit(app: Skydeck, rest: str) -> None:
    app.exit()


def _terminal(word: str) -> Callable[[Skydeck, str], None]:
    def run(app: Skydeck, rest: str) -> None:
        from tui.terminal import commands as terminal

        terminal.obey(app, word, rest)

    return run


def _keys(app: Skydeck, rest: str) -> None:
    from tui.screens.help import AllKeys

    app.push_screen(AllKeys())


def _launch(app: Skydeck, rest: str) -> None:
    from tui.forms import launch_line

    launch_line.run(app, rest)


def _launch_words(app: Skydeck, typed: str) -> Sequence[str]:
    from tui.forms import launch_line

    return launch_line.complete(app, typed)


def _launch_preview(app: Skydeck, typed: str) -> list[Cell]:
    from tui.forms import launch_line

    return launch_line.preview(app, typed)


def _logs(app: Skydeck, rest: str) -> None:
    from tui.console.searching import LogsScreen

    app.push_screen(LogsScreen(rest))


# ---------------------------------------------------------------------- bookmarks


def bookmark(app: Skydeck, rest: str) -> None:
    """`:bm` lists them, `:bm NAME` goes there, `:bm add NAME` makes one of the list in front, `:bm rm NAME`."""
    word, _, name = rest.strip().partition(" ")
    name = name.strip()
    kept: dict[str, str] = app.settings.bookmarks
    if word in ("add", "rm") and not name:
        app.tell(f":bm {word} needs a name", "", tone="warn")
    elif word == "add":
        here = app.browser.locator_text()
        app.change_settings(bookmarks={**kept, name: here})
        app.save_settings({"bookmarks": {name: here}})
        app.tell(f"bookmark {name} is {here}", f":bm {name} goes there, and: skydeck ':bm {name}'", tone="ok")
    elif word == "rm" and name in kept:
        app.change_settings(bookmarks={other: where for other, where in kept.items() if other != name})
        app.save_settings({"bookmarks": {name: None}})
        app.tell(f"bookmark {name} is gone", f"It was {kept[name]}", tone="ok")
    elif (where := kept.get(name if word == "rm" else rest.strip())) is not None:
        app.submit(where)
    elif rest.strip():
        title = f"there is no bookmark {rest.removeprefix('rm ').strip()!r}"
        app.tell(title, ":bm add NAME makes one of the list in front", tone="warn")
    else:
        listed = "   ".join(f"{name} {where}" for name, where in kept.items())
        app.tell(listed or "no bookmarks yet", ":bm add NAME makes one of the list in front", tone="ok")


def _bookmarks(app: Skydeck, typed: str) -> Sequence[str]:
    names = list(app.settings.bookmarks)
    if typed.startswith("rm "):
        return [f"rm {name}" for name in names]
    return [*names, "add ", "rm "]


ALL = (
    Command(words=("help",), help="Keys of what is in front", run=_goes("help")),
    Command(words=("keys",), help="All keys, their ids for the keymap, and what is wrong with it", run=_keys),
    Command(words=("messages",), help="Messages so far", run=_goes("messages")),
    Command(words=("topology",), help="How networks hang together", run=_goes("topology")),
    Command(words=("why",), help="Why: what is wrong with it, and why what is greyed cannot be done", run=_goes("why")),
    Command(words=("plan",), help="What deleting or emptying it would do, step by step", run=_goes("plan")),
    Command(words=("logs",), usage="TEXT", help="Look for a text in the console logs of all instances", run=_logs),
    Command(words=("undo",), help="Take back what you did lately", run=_goes("undo")),
    Command(words=("pulse", "pu"), help="The cloud in numbers", run=_goes("pulse")),
    Command(
        words=("bm", "bookmark"),
        usage="NAME | add NAME | rm NAME",
        help="Go to a bookmark; make one of the list in front; take one away",
        run=bookmark,
        complete=_bookmarks,
    ),
    Command(
        words=("launch",),
        usage="NAME [FLAVOR] [IMAGE] [net=] [sg=] [key=] [count=] [volume=] [az=] [user-data=]",
        help="Launch instances: web-{1..3} m1.small debian net=app",
        run=_launch,
        complete=_launch_words,
        preview=_launch_preview,
    ),
    Command(
        words=("theme",),
        usage=" | ".join(THEMES),
        help="Colours",
        run=_terminal("theme"),
        complete=lambda app, typed: THEMES,
    ),
    Command(
        words=("glyphs",),
        usage=" | ".join(GLYPHS),
        help="What pictures are drawn with",
        run=_terminal("glyphs"),
        complete=lambda app, typed: GLYPHS,
    ),
    Command(
        words=("mouse",),
        usage="on | off",
        help="The app's mouse, or the terminal's own selection",
        run=_terminal("mouse"),
        complete=lambda app, typed: ("on", "off"),
    ),
    Command(
        words=("export",),
        usage="json | csv | yaml | svg [PATH]",
        help="Write the list, or what is marked of it, to a file; Ctrl+S asks for the format",
        run=lambda app, rest: app.acting.export(*rest.split(maxsplit=1)[:2]),
        complete=lambda app, typed: FORMATS,
    ),
    Command(
        words=("screenshot",),
        usage="[PATH]",
        help="The screen as an SVG file",
        run=lambda app, rest: app.acting.export("svg", rest.strip()),
    ),
    Command(words=("quit", "q"), help="Leave; operations go on", run=_quit),
)

COMMANDS: dict[str, Command] = {word: command for command in ALL for word in command.words}
"""By every word."""
