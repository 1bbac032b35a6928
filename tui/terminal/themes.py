"""The themes: each a set of surfaces, and what the tones' colour names stand for on them.

Tones are ANSI names (tui.widgets.lines), so a theme is a table from those names to colours. On terminals with 16
colours, and with `ansi`, the names go to the terminal as they are and its own palette decides. No theme is all that
tells one state from another: a glyph and a word always stand beside the colour.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from rich.terminal_theme import TerminalTheme
from textual.theme import BUILTIN_THEMES, Theme

from tui.settings import THEMES

if TYPE_CHECKING:
    from textual.app import App

RGB = tuple[int, int, int]


def _palette(
    *, background: RGB, foreground: RGB, bad: RGB, ok: RGB, warn: RGB, primary: RGB, busy: RGB, dim: RGB
) -> TerminalTheme:
    """ANSI's eight names and their bright twins; magenta and the greys are what is left."""
    names = [background, bad, ok, warn, primary, busy, busy, foreground]
    return TerminalTheme(background, foreground, names, [dim, *names[1:]])


PALETTES: Final[dict[str, TerminalTheme]] = {
    "dark": _palette(
        background=(18, 18, 18),
        foreground=(224, 224, 224),
        bad=(255, 92, 122),
        ok=(126, 211, 76),
        warn=(253, 184, 76),
        primary=(110, 170, 255),
        busy=(88, 209, 235),
        dim=(150, 150, 144),
    ),
    "light": _palette(
        background=(250, 250, 248),
        foreground=(30, 30, 30),
        bad=(176, 0, 32),
        ok=(0, 100, 30),
        warn=(130, 76, 0),
        primary=(0, 72, 150),
        busy=(0, 92, 120),
        dim=(96, 96, 96),
    ),
    # Blue against orange: told apart with every kind of colour-blindness (Okabe and Ito, 2008).
    "colourblind": _palette(
        background=(16, 18, 22),
        foreground=(228, 228, 228),
        bad=(255, 140, 26),
        ok=(86, 180, 233),
        warn=(240, 228, 66),
        primary=(110, 170, 255),
        busy=(190, 200, 255),
        dim=(150, 150, 150),
    ),
    "grey": _palette(
        background=(18, 18, 18),
        foreground=(220, 220, 220),
        bad=(255, 255, 255),
        ok=(205, 205, 205),
        warn=(240, 240, 240),
        primary=(200, 200, 200),
        busy=(225, 225, 225),
        dim=(150, 150, 150),
    ),
}
"""`ansi` has none: the terminal's own holds."""


def _hex(colour: Iterable[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _theme(name: str, *, surface: RGB, panel: RGB, primary: RGB, dark: bool) -> Theme:
    palette = PALETTES[name]
    names = palette.ansi_colors
    return Theme(
        name=f"skydeck-{name}",
        primary=_hex(primary),
        secondary=_hex(names[4]),
        warning=_hex(names[3]),
        error=_hex(names[1]),
        success=_hex(names[2]),
        accent=_hex(names[6]),
        foreground=_hex(palette.foreground_color),
        background=_hex(palette.background_color),
        surface=_hex(surface),
        panel=_hex(panel),
        dark=dark,
    )


_DRAWN: Final[dict[str, Theme]] = {
    "dark": _theme("dark", surface=(30, 30, 30), panel=(36, 44, 56), primary=(1, 120, 212), dark=True),
    "light": _theme("light", surface=(238, 238, 234), panel=(222, 228, 236), primary=(120, 170, 220), dark=False),
    "colourblind": _theme("colourblind", surface=(28, 30, 36), panel=(36, 42, 54), primary=(0, 114, 178), dark=True),
    "grey": _theme("grey", surface=(30, 30, 30), panel=(44, 44, 44), primary=(120, 120, 120), dark=True),
    "ansi": BUILTIN_THEMES["ansi-dark"],
}
assert set(_DRAWN) == set(THEMES)


def drawn_as(name: str) -> Theme:
    """The toolkit's theme of that name."""
    return _DRAWN[name]


def use(app: App[None], name: str) -> None:
    """Draw with this theme from now on, and without colour where that was asked for."""
    theme = _DRAWN["ansi" if app.no_color else name]
    if theme.name not in app.available_themes:
        app.register_theme(theme)
    palette = None if theme.ansi else PALETTES[name]
    if palette is not None:
        if theme.dark:
            app.ansi_theme_dark = palette
        else:
            app.ansi_theme_light = palette
    app.theme = theme.name
    if palette is not None:
        # What watches the theme does not run before the app does.
        app._refresh_truecolor_filter(palette)
