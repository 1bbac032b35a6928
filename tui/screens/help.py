"""Help for what is on the screen, made of the same records as the keys themselves; and `:keys`, all of them with the
ids by which a keymap moves them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, zip_longest
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.cells import cell_len

from tui import registry
from tui.keymap import MOVES, all_shown, declarations
from tui.screens.reading import Reading
from tui.verbs import Verb
from tui.view import Cell, Lines, View

if TYPE_CHECKING:
    from tui.app import Skydeck

ROOM = 120
"""Columns from which on the help has two."""

EDGES = 4
"""Cells of the page beside its text: padding and scroll bar."""

KEYS = 14
"""Cells for the keys."""

Entry = tuple[str, str, str]
"""(keys, what they do, tone)."""


class Searchable(Reading):
    """A page of which `/` shows only the lines that hold what is typed, under their headings."""

    app: Skydeck

    def blocks(self) -> list[tuple[str, list[Entry]]]:
        """Headings with their entries."""
        raise NotImplementedError

    def lines(self, width: int) -> Lines:
        words = self.sought.lower().split()
        halves = 2 if width >= ROOM else 1
        width -= EDGES
        found_blocks: list[Lines] = []
        for title, entries in self.blocks():
            found = [one for one in entries if all(word in f"{title} {one[0]} {one[1]}".lower() for word in words)]
            if found:
                block = [line for entry in found for line in _lines(entry, width // halves)]
                found_blocks.append([[(title, "head")], *block, [("", "")]])
        if not found_blocks:
            return [[("nothing holds these words", "dim")]]
        if halves == 1:
            return [line for block in found_blocks for line in block]
        return _beside(found_blocks, width // halves)

    def narrowed(self, lines: Lines) -> Lines:
        return lines


def _beside(blocks: Sequence[Lines], width: int) -> Lines:
    """Blocks in two columns of about the same height, none of them broken."""
    half = sum(map(len, blocks)) / 2
    left: Lines = []
    right: Lines = []
    for block in blocks:
        (left if not right and len(left) + len(block) / 2 <= half else right).extend(block)
    lines: Lines = []
    for here, there in zip_longest(left, right, fillvalue=[("", "")]):
        used = sum(cell_len(text) for text, _ in here)
        lines.append([*here, (" " * max(1, width - used), ""), *there])
    return lines


def _lines(entry: Entry, width: int) -> Lines:
    """What it does, under itself where it is longer than a line."""
    keys, text, tone = entry
    first, *more = wrap(text, max(20, width - KEYS - 5)) or [""]
    lines: Lines = [[(f"  {keys:<{KEYS}}", "key"), (" ", ""), (first, tone)]]
    return lines + [[(" " * (KEYS + 5), ""), (line, tone)] for line in more]


class Help(Searchable):
    """The keys of the page that is behind this one."""

    def __init__(self, view: View, verbs: Sequence[Verb], general: Sequence[Verb]) -> None:
        super().__init__()
        self._view = view
        self._verbs = verbs
        self._general = general

    def title_cells(self) -> list[Cell]:
        return [("Help: ", ""), (self._view.title, "head"), (f"   :{' :'.join(self._view.aliases)}", "dim")]

    def blocks(self) -> list[tuple[str, list[Entry]]]:
        keys, app = self.app.keys, self.app
        moving = [(all_shown(keys.keys.get(move.id, move.keys)), move.help, "") for move in MOVES.values()]
        own = [(verb.symbol, verb.help, "bad" if verb.dangerous else "") for verb in self._verbs]
        quits = [
            (all_shown(keys.keys.get(binding.id or "", binding.key)), binding.description, "")
            for binding in app.declared_bindings()
        ]
        recent = [
            (str(number), app.browser.shown_locator(locator), "")
            for number, locator in enumerate(app.browser.recent, 1)
        ]
        bookmarks = [(f":{name}", where, "") for name, where in app.settings.bookmarks.items()]
        commands = [
            (f":{command.words[0]}", f"{command.help}  {command.usage}".rstrip(), "")
            for command in dict.fromkeys(registry.COMMANDS.values())
        ]
        return [
            (self._view.title, own),
            ("Everywhere", _merged([*((verb.symbol, verb.help, "") for verb in self._general), *quits])),
            ("Moving", moving),
            ("Recent lists", recent),
            ("Bookmarks", bookmarks),
            ("Commands", commands),
            (
                "Lists",
                [(f":{view.aliases[0]}", f"{view.title}   {_also(view)}", "") for view in registry.VIEWS.values()],
            ),
        ]


def _also(view: View) -> str:
    """What else `:` takes for it."""
    return " ".join(f":{word}" for word in view.aliases[1:])


def _merged(entries: Iterable[Entry]) -> list[Entry]:
    """Keys in a row that do the same share a line: `1 … 9`."""
    found = []
    for (text, tone), same in groupby(entries, key=lambda entry: entry[1:]):
        keys = [entry[0] for entry in same]
        found.append((" ".join(keys) if len(keys) < 3 else f"{keys[0]} … {keys[-1]}", text, tone))
    return found


class AllKeys(Searchable):
    """Every key, by place, with its id; first what is wrong with the keymap."""

    def title_cells(self) -> list[Cell]:
        path = self.app.places.file
        return [("Keys", "head"), (f"   [app.keymap] in {path} moves them by their ids", "dim")]

    def blocks(self) -> list[tuple[str, list[Entry]]]:
        keys = self.app.keys
        problems: list[Entry] = [("!", problem, "bad") for problem in keys.problems]
        blocks = [("Keymap", problems)] if problems else []
        for place, entries in groupby(declarations(), key=lambda one: one.place):
            block: list[Entry] = []
            for one in entries:
                now = keys.keys.get(one.id)
                shown = all_shown(one.keys if now is None else now) or "none"
                moved = "" if now is None else f"  (was {all_shown(one.keys)})"
                block.append((shown, f"{one.id}  {one.help}{moved}", "" if now is None else "warn"))
            blocks.append((place, block))
        return blocks
