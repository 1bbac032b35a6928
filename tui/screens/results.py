"""What became of each of many: shown when some were refused, so that nobody has to guess which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tui.screens.reading import Reading
from tui.view import Cell, Lines


class Result(NamedTuple):
    """One object's."""

    name: str
    why: str = ""
    """Why it was refused; empty: it was done."""
    hint: str = ""


class Results(Reading):
    """Refusals first, each with its reason and the next act; then what was done."""

    def __init__(self, verb: str, done: str, results: Sequence[Result]) -> None:
        """`done` is the verb's word for what was accepted: `stopping`."""
        super().__init__()
        self._verb = verb
        self._done = done
        self._results = results

    def title_cells(self) -> list[Cell]:
        refused = sum(bool(result.why) for result in self._results)
        done = len(self._results) - refused
        return [(self._verb.capitalize(), "head"), (f": {self._done} {done}, ", ""), (f"refused {refused}", "bad")]

    def lines(self, width: int) -> Lines:
        lines: Lines = []
        room = max([len(result.name) for result in self._results], default=0)
        room = min(room, max(12, width // 3)) + 2
        for result in sorted(self._results, key=lambda one: not one.why):
            name = f"  {result.name}".ljust(room + 2)
            if not result.why:
                lines.append([("+", "ok"), (name, ""), (self._done, "dim")])
                continue
            lines.append([("!", "bad"), (name, ""), (result.why, "bad")])
            if result.hint:
                lines.append([(" " * (room + 3), ""), (result.hint, "dim")])
        return lines
