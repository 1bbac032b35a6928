"""Charts of text: numbers to lines that a terminal draws, in braille, in blocks or in ASCII alone. Pure functions.

A chart takes exactly the cells it is given, and what was not measured is a gap, never a zero: a sample that is there
draws at least its lowest mark.
"""

from __future__ import annotations

from tui.charts.bars import bar, sparkline
from tui.charts.plot import Curve, plot
from tui.charts.samples import Sample, ceiling, newest, resample

__all__ = ["Curve", "Sample", "bar", "ceiling", "newest", "plot", "resample", "sparkline"]
