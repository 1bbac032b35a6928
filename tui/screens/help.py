"""Help for what is on the screen, made of the same records as the keys themselves."""

from __future__ import annotations

from collections.abc import Sequence

from tui.screens.reading import Reading
from tui.verbs import Verb
from tui.view import Cell, Lines, View

MOVING = (
    ("j k ↑ ↓", "one row"),
    ("g G", "first, last row"),
    ("Ctrl+D Ctrl+U", "half a page"),
    ("PgDn Ctrl+F PgUp", "a page"),
    ("← →", "scroll the columns"),
    ("Ctrl+P", "palette: every action and list by name"),
    ("Ctrl+Q :q", "quit; Ctrl+C never does"),
)


class Help(Reading):
    def __init__(self, view: View, verbs: Sequence[Verb], general: Sequence[Verb]) -> None:
        super().__init__()
        self._view = view
        self._verbs = verbs
        self._general = general

    def title_cells(self) -> list[Cell]:
        return [("Help: ", ""), (self._view.title, "head"), (f"   :{' :'.join(self._view.aliases)}", "dim")]

    def lines(self, width: int) -> Lines:
        left = [(verb.symbol, verb.help, verb.dangerous) for verb in self._verbs]
        right = [(verb.symbol, verb.help, False) for verb in self._general]
        moving = [(keys, text, False) for keys, text in MOVING]
        blocks = [(self._view.title, left), ("Everywhere", right), ("Moving", moving)]
        lines: Lines = []
        for title, entries in blocks:
            lines += [[(title, "head")], *self._entries(entries), [("", "")]]
        return lines

    def _entries(self, entries: list[tuple[str, str, bool]]) -> Lines:
        return [[(f"  {key:<18}", "key"), (text, "bad" if dangerous else "")] for key, text, dangerous in entries]
