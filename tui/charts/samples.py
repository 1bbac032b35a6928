"""Samples on their way to a chart: fitted into its columns, and a scale for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

Sample = float | None
"""A number, or None: not measured. NaN and the infinities count as not measured too."""

T = TypeVar("T")


def there(sample: Sample) -> bool:
    """Whether it was measured."""
    return sample is not None and math.isfinite(sample)


def newest(values: Sequence[Sample], count: int) -> list[Sample]:
    """The last `count` samples; what is missing before them is a gap."""
    kept = list(values[-count:]) if count > 0 else []
    return [None] * (count - len(kept)) + kept


def resample(values: Sequence[Sample], count: int) -> list[Sample]:
    """All of them in `count` places: means of those that share one, repeated when there are fewer than places."""
    length = len(values)
    if not length:
        return [None] * count
    placed: list[Sample] = []
    for place in range(count):
        first = place * length // count
        share = values[first : max(first + 1, (place + 1) * length // count)]
        measured = [value for value in share if value is not None and math.isfinite(value)]
        placed.append(sum(measured) / len(measured) if measured else None)
    return placed


def level(sample: Sample, top: float, levels: int) -> int:
    """How many of `levels` marks a sample fills: 0 for a gap, at least 1 for what was measured."""
    if sample is None or not math.isfinite(sample):
        return 0
    share = sample / top if top > 0 else 0.0
    return max(1, min(levels, round(share * levels)))


def ceiling(highest: float, *, base: int = 1000) -> float:
    """A round number that is not below `highest`, for the top of an axis: 1, 2 or 5 times a power of ten, or with
    `base` 1024 a power of two. At least 1."""
    if not math.isfinite(highest) or highest <= 1:
        return 1.0
    if base == 1024:
        return float(2 ** math.ceil(math.log2(highest)))
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= highest)
