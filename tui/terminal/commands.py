"""`:theme`, `:glyphs`, `:mouse`: how the app is drawn, changed while it runs and kept for the next time."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Final

from tui.settings import GLYPHS, THEMES, save
from tui.terminal import suited, themes
from tui.terminal.plain import PlainFilter

if TYPE_CHECKING:
    from tui.app import Skydeck

WORDS: Final = ("theme", "glyphs", "mouse")


def begin(app: Skydeck) -> None:
    """Draw as the settings say, before the first frame."""
    themes.use(app, app.settings.theme)
    _set_plain(app)


def obey(app: Skydeck, word: str, argument: str) -> None:
    """One of WORDS, with what was typed after it. Without an argument the next choice is taken."""
    if word == "mouse":
        _mouse(app, argument)
        return
    known = THEMES if word == "theme" else GLYPHS
    now = str(getattr(app.settings, word))
    chosen = argument or known[(known.index(now) + 1) % len(known)]
    if chosen not in known:
        app.tell(f"{word} {chosen!r} does not exist", f"There are {', '.join(known)}.", tone="warn")
        return
    wanted = dataclasses.replace(app.settings, **{word: chosen})  # type: ignore[arg-type]
    app.settings = suited(wanted, os.environ)
    if word == "theme":
        themes.use(app, app.settings.theme)
    else:
        _set_plain(app)
    app.redraw()
    _keep(app, word, chosen)
    if (shown := getattr(app.settings, word)) != chosen:
        app.tell(
            f"{word}: {chosen} is kept, this terminal gets {shown}",
            "It says what it can in TERM and LANG.",
            tone="warn",
        )
    else:
        app.tell(f"{word}: {chosen}", f":{word} {' | '.join(known)}", tone="ok")


def _set_plain(app: Skydeck) -> None:
    wanted = app.settings.glyphs == "ascii"
    there = [each for each in app._filters if isinstance(each, PlainFilter)]
    if wanted and not there:
        app._filters.append(PlainFilter())
    for each in there:
        each.enabled = wanted


def _mouse(app: Skydeck, argument: str) -> None:
    """With the app's mouse off, the terminal's own selection works."""
    driver = app._driver
    on = not app.settings.mouse if argument not in ("on", "off") else argument == "on"
    app.settings = dataclasses.replace(app.settings, mouse=on)
    turn = getattr(driver, "_enable_mouse_support" if on else "_disable_mouse_support", None)
    if driver is not None and turn is not None:
        driver._mouse = True  # else the driver does neither
        turn()
        driver._mouse = on
        driver.flush()
    _keep(app, "mouse", on)
    hint = "" if on else "Select with the mouse as everywhere; :mouse gives it back to the app."
    app.tell(f"mouse: {'on' if on else 'off'}", hint, tone="ok")


def _keep(app: Skydeck, key: str, value: object) -> None:
    from core.errors import SkydeckError

    try:
        save(app.places.file, {key: value})
    except (OSError, SkydeckError) as bad:
        app.tell(f"{key} holds until the end only: {bad}", "", tone="warn")
