"""What terminals differ in: colours, marks, clipboards, mice. The rest of the app draws as if all were alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tui.settings import Settings

_LOCALE = ("LC_ALL", "LC_CTYPE", "LANG")
"""The first that is set says in which letters the terminal reads (POSIX.1, 8.2)."""


def suited(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The settings as far as the terminal can follow them: its own palette where it has 16 colours, ASCII where its
    letters are not Unicode's, no braille on Linux' own console, whose fonts have none."""
    letters = next((environ[name] for name in _LOCALE if environ.get(name)), "")
    glyphs = settings.glyphs
    if letters and "utf-8" not in letters.lower() and "utf8" not in letters.lower():
        glyphs = "ascii"
    elif environ.get("TERM") == "linux" and glyphs == "braille":
        glyphs = "block"
    theme = "ansi" if few_colours(environ) else settings.theme
    return dataclasses.replace(settings, glyphs=glyphs, theme=theme)


def few_colours(environ: Mapping[str, str]) -> bool:
    """Whether the terminal has 16 colours or none: shades between them would be guessed. As rich finds out."""
    if "NO_COLOR" in environ:
        return True
    if environ.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return False
    _name, _, colours = environ.get("TERM", "").strip().lower().rpartition("-")
    return colours not in ("256color", "kitty", "direct")
