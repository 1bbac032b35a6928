"""Where every benchmark leaves its figures: a row of the table, and a line of bench/results.jsonl."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[2] / "bench" / "results.jsonl"


def record(name: str, value: float, unit: str, baseline: float | None, n: int) -> None:
    """One figure and what it is measured against, in the same unit; the ratio is value over baseline."""
    ratio = None if not baseline else value / baseline
    against = "" if ratio is None else f"{baseline:12.3f} {ratio:8.3f}x"
    print(f"{name:<18}{value:12.3f} {unit:<6}{against:22} n={n}", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    line = {"name": name, "value": value, "unit": unit, "baseline": baseline, "ratio": ratio, "n": n}
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(share * 1000) // 1000) - 1)]
