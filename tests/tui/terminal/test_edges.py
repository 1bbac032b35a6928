"""What terminals differ in, without one: ASCII in as many cells, the clipboard's sequences, themes that can be read."""

from __future__ import annotations

import base64
import itertools
import unicodedata

import pytest
from rich.cells import cell_len

from tui.settings import GLYPHS, THEMES, Settings
from tui.terminal import few_colours, suited, themes
from tui.terminal.clipboard import MOST, osc52
from tui.terminal.plain import plain
from tui.widgets.lines import TONES


def test_whatever_is_drawn_becomes_ascii_of_as_many_cells() -> None:
    drawn = [*range(0x2190, 0x2200), *range(0x2500, 0x2600), *range(0x2800, 0x2900)]
    names = [code for code in range(0xA0, 0x3000) if unicodedata.category(chr(code)) in ("Lu", "Ll", "Lo", "Sm")]
    for code in [*drawn, *names, 0x4E2D, 0x1F600, 0xAC00]:
        letter = chr(code)
        assert plain(letter).isascii()
        assert cell_len(plain(letter)) == cell_len(letter), letter
    assert plain("─│┌┐└┘├┤┬┴┼ … → ← ↑ ↓ ▸ ▾") == "-|+++++++++ ~ > < ^ v > v"
    assert plain("⠀⣀⣤⣶⣿ ▁▄█") == " .:+# .##"
    assert plain("Müller, Łódź, 中") == "Muller, ?odz, ??"


def test_the_clipboard_is_reached_bare_through_tmux_and_through_screen() -> None:
    text = "10.0.1.15 " * 40
    payload = base64.b64encode(text.encode()).decode()
    bare = f"\x1b]52;c;{payload}\x07"
    assert osc52(text, {"TERM": "xterm-256color"}) == bare
    tmux = osc52(text, {"TERM": "tmux-256color", "TMUX": "/tmp/tmux-0/default,1,0"})
    assert tmux == f"{bare}\x1bPtmux;\x1b{bare}\x1b\\"
    screen = osc52(text, {"TERM": "screen-256color", "STY": "1.pts"})
    assert screen is not None
    # What screen passes on, one string after the other, is the sequence again.
    passed = "".join(part.removeprefix("\x1bP") for part in screen.split("\x1b\\"))
    assert passed == bare
    assert all(len(part) < 128 for part in screen.split("\x1b\\"))
    far = osc52(text, {"TERM": "screen-256color"})
    assert far == bare + screen
    assert osc52("x" * MOST, {}) is not None
    assert len(osc52("x" * MOST, {}) or "") < 100_010
    assert osc52("x" * (MOST + 1), {}) is None
    assert osc52("é" * MOST, {}) is None


@pytest.mark.parametrize(
    ("environ", "theme", "glyphs"),
    [
        ({"TERM": "xterm-256color", "LANG": "en_GB.UTF-8"}, "light", "braille"),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "light", "braille"),
        ({"TERM": "xterm-kitty"}, "light", "braille"),
        ({"TERM": "linux", "LANG": "C.utf8"}, "ansi", "block"),
        ({"TERM": "xterm-16color"}, "ansi", "braille"),
        ({"TERM": "ansi"}, "ansi", "braille"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "ansi", "braille"),
        ({"TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C"}, "light", "ascii"),
        ({"TERM": "tmux-256color", "LANG": "de_DE.ISO-8859-1"}, "light", "ascii"),
    ],
)
def test_settings_suit_the_terminal(environ: dict[str, str], theme: str, glyphs: str) -> None:
    assert suited(Settings(theme="light"), environ) == Settings(theme=theme, glyphs=glyphs)
    assert suited(Settings(glyphs="ascii"), environ).glyphs == "ascii"
    assert few_colours(environ) == (theme == "ansi")


def _luminance(colour: tuple[int, ...]) -> float:
    """WCAG 2.1, relative luminance."""
    parts = [value / 255 for value in colour]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


_NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white", "bright_black"]


def test_every_tone_can_be_read_on_every_surface() -> None:
    used = {word for style in TONES.values() for word in style.split()} & set(_NAMES)
    assert {"red", "green", "yellow", "cyan", "bright_black"} <= used
    assert set(THEMES) - set(themes.PALETTES) == {"ansi"}
    assert GLYPHS[-1] == "ascii"
    for name, palette in themes.PALETTES.items():
        theme = themes.drawn_as(name)
        surfaces = [tuple(palette.background_color)]
        surfaces += [tuple(bytes.fromhex(str(colour)[1:])) for colour in (theme.surface, theme.panel)]
        for tone, surface in itertools.product(used, surfaces):
            colour = tuple(palette.ansi_colors[_NAMES.index(tone)])
            assert _contrast(colour, surface) >= 4.5, (name, tone, surface)
        if name == "grey":
            assert all(len(set(palette.ansi_colors[at])) == 1 for at in range(16))


@pytest.mark.parametrize("lost", ["protan", "deutan"])
def test_good_and_bad_differ_without_red_or_green(lost: str) -> None:
    """Viénot, Brettel and Mollon (1999): what is left of a colour when one kind of cone is missing."""

    def seen(colour: tuple[int, ...]) -> tuple[float, float]:
        red, green, blue = ((value / 255) ** 2.2 for value in colour)
        common = 0.11238 * red + 0.88762 * green if lost == "protan" else 0.29275 * red + 0.70725 * green
        return common, blue

    palette = themes.PALETTES["colourblind"].ansi_colors
    bad, good, warn = (seen(tuple(palette[at])) for at in (1, 2, 3))
    for one, other in itertools.combinations((bad, good, warn), 2):
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 0.25
