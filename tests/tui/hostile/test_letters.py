"""What becomes of a stranger's text before it is drawn: letters, as wide as the terminal takes them for."""

from __future__ import annotations

import io

from hypothesis import assume, example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip
from wcwidth import wcswidth

from tests.tui.hostile.strings import ATTACKS, TEXTS
from tests.tui.hostile.wire import complaints, seen
from tui.fence import clean, fenced
from tui.text import MOST_MARKS, safe, safe_lines
from tui.widgets.lines import drawn, fit, page

ANY = st.one_of(TEXTS, st.text(max_size=40))


@given(ANY)
def test_safe_leaves_letters_alone_and_nothing_else(text: str) -> None:
    shown = safe(text)
    assert all(seen(letter) for letter in shown)
    assert "\n" not in shown
    assert safe(shown) == shown, "twice is once"
    assert safe("e\u0301".join(["caf", " \u6771\u4eac"])) == "cafe\u0301 \u6771\u4eac"


@given(ANY)
def test_lines_stay_lines(text: str) -> None:
    assert all(seen(letter) for letter in safe_lines(text).replace("\n", ""))


@given(ANY, st.integers(min_value=1, max_value=40))
@example("\u6771" * 9, 7)
@example("a\u0300\u0301\u0302\u0303\u0304", 3)
def test_a_column_is_as_wide_as_the_terminal_makes_it(text: str, width: int) -> None:
    # Spacing vowel signs of Indic scripts are one cell to some terminals and none to others, and to the toolkit.
    assume(all(wcswidth(f"a{letter}") in (cell_len(f"a{letter}"), -1) for letter in safe(text)))
    assert wcswidth(fit(safe(text), width)) in (width, -1) or wcswidth(safe(text)) < 0
    line = drawn([(text, ""), (text, "bad")])
    assert wcswidth(line.plain) == line.cell_len


def test_signs_that_terminals_measure_differently_are_not_shown_as_one() -> None:
    assert safe("\U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea") == "\U0001f44d DE"


def test_marks_do_not_pile_up() -> None:
    assert safe("a" + "\u0301" * 50 + "b") == "a" + "\u0301" * MOST_MARKS + "b"
    assert safe("\u0301a") == "a", "nothing to stand on"
    assert safe("\u0e01\u0e35\u0e48\u0e19\u0e35\u0e49") == "\u0e01\u0e35\u0e48\u0e19\u0e35\u0e49", "Thai is whole"


def _console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system="256", width=200)


@given(st.lists(ANY, min_size=1, max_size=4))
def test_whatever_a_widget_draws_passes_the_fence(texts: list[str]) -> None:
    """As a field draws what was pasted into it: raw."""
    strips = [Strip([Segment(text, Style(bold=True, link="http://x")), Segment("|")]) for text in texts]
    frames = (
        LayoutUpdate([[strip] for strip in strips], Region(0, 0, 80, len(strips))),
        ChopsUpdate([{0: strip} for strip in strips], [(y, 0, 80) for y in range(len(strips))], [[80]] * len(strips)),
    )
    for frame in frames:
        sent = fenced(frame).render_segments(_console())
        assert complaints(sent.encode("utf-8", "replace")) == []
    for strip in strips:
        assert clean(strip).cell_length == strip.cell_length


def test_what_is_as_it_should_be_passes_the_fence_untouched() -> None:
    strip = Strip([Segment("web-01 \u6771\u4eac \u28ff\u2588", Style(color="red"))])
    assert clean(strip) is strip


def test_a_page_of_attacks_is_a_page_of_text() -> None:
    console = _console()
    console.print(page([[(text, "")] for text in ATTACKS]))
    assert isinstance(console.file, io.StringIO)
    assert complaints(console.file.getvalue().encode()) == []
