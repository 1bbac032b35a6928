"""Charts: exact widths, gaps where nothing was measured, and how each set of marks looks."""

from __future__ import annotations

import math

import pytest
from rich.cells import cell_len

from tests.tui.driving import same_as_golden
from tui.charts import Curve, Sample, bar, ceiling, newest, plot, resample, sparkline
from tui.charts.glyphs import GLYPHS
from tui.view import Lines

SETS = pytest.mark.parametrize("glyphs", list(GLYPHS))

WAVE: list[Sample] = [round(50 + 45 * math.sin(at / 9), 3) for at in range(120)]
WAVE[40:52] = [None] * 12
WAVE[60:66] = [0.0] * 6
WAVE[66:70] = [math.nan] * 4
SLOW: list[Sample] = [round(30 + 25 * math.cos(at / 5), 3) for at in range(120)]


def _text(lines: Lines) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


@SETS
def test_how_they_look(glyphs: str) -> None:
    drawn = [
        sparkline(WAVE, 24, 100.0, glyphs) + "|",
        sparkline([1.0, None, 3.0], 8, None, glyphs) + "|",
        *(bar(part, whole, 12, glyphs) + "|" for part, whole in ((0, 20), (0.01, 20), (7, 20), (20, 20), (3, -1))),
        *_text(plot([Curve(values=WAVE)], 60, 8, glyphs, show=lambda value: f"{value:.0f}%", since="10m")),
        *_text(
            plot(
                [Curve(values=WAVE), Curve(values=SLOW)], 60, 9, glyphs, show=lambda value: f"{value:.0f}K", since="1h"
            )
        ),
    ]
    same_as_golden("\n".join(drawn) + "\n", f"charts-{glyphs}")
    if glyphs == "ascii":
        assert all(line.isascii() for line in drawn)


@SETS
def test_a_chart_takes_exactly_the_cells_it_is_given(glyphs: str) -> None:
    for width in range(70):
        for samples in ([], [None], [math.nan], [0.0], [math.inf, 5.0], WAVE):
            assert cell_len(sparkline(samples, width, glyphs=glyphs)) == width
            assert cell_len(sparkline(samples, width, None, glyphs)) == width
        for part, whole in ((0, 0), (1, 0), (5, -1), (1, 3), (9, 3), (0.001, 1000)):
            assert cell_len(bar(part, whole, width, glyphs)) == width
        for height in range(9):
            for curves in ([], [WAVE], [WAVE, SLOW], [[], [None]]):
                lines = plot([Curve(values=values) for values in curves], width, height, glyphs, since="10m")
                assert [cell_len(line) for line in _text(lines)] == [width] * height


@SETS
def test_what_was_not_measured_is_a_gap_and_zero_is_not(glyphs: str) -> None:
    assert sparkline([None, math.nan], 4, glyphs=glyphs) == "    "
    zero = sparkline([0.0] * 8, 4, glyphs=glyphs)
    assert " " not in zero
    assert zero != sparkline([100.0] * 8, 4, glyphs=glyphs)
    *rows, floor = _text(plot([Curve(values=[50.0, None, 50.0])], 24, 4, glyphs))
    assert all(row[11:17] == "      " for row in rows), "the middle third was not measured"
    assert rows[-1][4:10].strip()
    assert floor.endswith("now")
    assert bar(0.001, 1000, 8, glyphs) != bar(0, 1000, 8, glyphs)


def test_samples_are_fitted() -> None:
    assert newest([1.0, 2.0], 4) == [None, None, 1.0, 2.0]
    assert newest([1.0, 2.0, 3.0], 2) == [2.0, 3.0]
    assert resample([1.0, 3.0, None, 5.0], 2) == [2.0, 5.0]
    assert resample([1.0, 2.0], 4) == [1.0, 1.0, 2.0, 2.0]
    assert resample([None, math.nan], 1) == [None]
    assert [ceiling(value) for value in (0, 3, 11, 51, 100, math.nan)] == [1, 5, 20, 100, 100, 1]
    assert ceiling(1500, base=1024) == 2048
