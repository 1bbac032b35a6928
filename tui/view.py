"""How a noun is shown: a declaration per noun, read by the one browser, the one detail page and the one form."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from tui.locator import Locator
from tui.verbs import Row, Verb

Cell = tuple[str, str]
"""(text, tone). Tones: "" ok busy bad off dim warn head."""

Lines = list[list[Cell]]
"""A page of text: each line is its cells, side by side."""


class Look(NamedTuple):
    """How a cell is looked at."""

    now: int
    """Microseconds since the epoch."""
    room: int
    """Cells it has."""
    glyphs: str
    """The set of marks pictures are drawn with: a key of tui.charts' GLYPHS."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a list. The first of a view is frozen while the others scroll."""

    title: str
    key: str = ""
    """The listing's column: what it sorts by, and its text when there is no `cell`. Empty: cannot be sorted."""
    width: int
    """Cells at least."""
    grow: int = 0
    """Cells it may take beyond its width when there is room."""
    cell: Callable[[Row, int], Cell] | None = None
    """(row, now in microseconds) to what is shown."""
    measured: Callable[[Row, Any, Look], Cell] | None = None
    """(row, its core.metrics.Latest or None, how it is looked at) to what is shown instead: of what is no part of the
    row, and read for the rows in sight alone. No list can be sorted by it."""
    wide: bool = False
    """Shown when the terminal has room for it, or on `w`."""
    right: bool = False
    """Aligned to the right: numbers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box:
    """A part of a page, framed where there is room."""

    title: str
    lines: Callable[[int], Lines]
    """Cells of width to the lines; longer ones are cut."""
    right: bool = False
    """Beside the box before it, where the terminal is wide."""
    small: bool = False
    """A few short lines: beside its neighbour on a narrow terminal too, both without a title."""
    headed: bool = False
    """Its first line says what it is: without a frame it needs no title."""
    tail: bool = False
    """Its end matters: of too many lines the last are shown."""
    brief: int = 0
    """Lines at most on a narrow terminal; 0: all."""


def box(title: str, lines: Lines, **how: Any) -> Box:
    """A box of lines that are the same at any width."""
    return Box(title=title, lines=lambda width: lines, **how)


class Source(StrEnum):
    """What a page shows that is not read from the store: the screen asks hosts for it, again and again."""

    LIVE = "live"
    """What was measured, in a few lines."""
    GUESTS = "guests"
    """Of a host: which of its guests use most."""
    CONSOLE = "console"
    """The end of the console log."""
    METRICS = "metrics"
    """Plots of what was measured."""
    LOG = "log"
    """The console log."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tab:
    """A page of an object's detail: one of `read`, `boxes` and `source`."""

    title: str
    read: Callable[[Any, Any, Row, int], Lines] | None = None
    """(read session, context, row, now) to the page's lines."""
    boxes: Callable[[Any, Any, Row, int], list[Box | Source]] | None = None
    """The same to the page's boxes; a source stands for the box that the screen makes of it."""
    source: Source | None = None
    """A page that is the screen's own."""
    sources: tuple[Source, ...] = ()
    """Those among its boxes, which are asked for while it is looked at."""


class Holds(StrEnum):
    """What a field's text stands for."""

    TEXT = "text"
    NUMBER = "number"
    """A whole number; nothing is null."""
    FLAG = "flag"
    """Two choices, `True` and `False`."""
    WORDS = "words"
    """Several, by comma or blank; written back by comma."""
    PAIRS = "pairs"
    """KEY=VALUE, by comma."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """One line of a form."""

    name: str
    label: str
    choices: bool = False
    """Chosen from what `Form.load` gives, instead of typed."""
    several: bool = False
    """Any number of them; the value is theirs, by comma."""
    hint: str = ""
    holds: Holds = Holds.TEXT
    """What the text stands for where it is written as YAML."""
    word: str = ""
    """What it is called in YAML and as an option of a command that is made from the form; empty: as `name`."""
    when: Callable[[dict[str, str]], bool] = lambda values: True
    """(values) to whether there is anything to decide: else it is not shown."""
    kept: bool = False
    """The next form begins with what was chosen last."""
    document: bool = False
    """The name of a file that can be written in an editor from here."""

    @property
    def called(self) -> str:
        return self.word or self.name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a form opens with."""

    values: dict[str, str]
    """Field to its text; what no field shows is handed to `Form.submit` as it is, e.g. the object's id."""
    choices: dict[str, list[tuple[str, str]]] = dataclasses.field(default_factory=dict)
    """Field to [(value, as shown)…]."""
    hidden: frozenset[str] = frozenset()
    """Fields that are not shown, because there is nothing to decide: their values stand."""
    problem: tuple[str, str] | None = None
    """Why it cannot be filled in at all, and the next act: no host, no image."""
    remedy: str = ""
    """The kind of noun whose form brings what is missing: it is opened instead."""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What `Form.preview` and `Form.command` need, e.g. the names that ids stand for."""


class Handed(StrEnum):
    """Who does what a form was filled in for."""

    NOBODY = ""
    """The app: `Form.submit`."""
    BEHIND = "behind"
    """Its command, in the background: it takes long, and goes on without the app."""
    IN_FRONT = "in front"
    """Its command, in the terminal: it asks questions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    title: str
    fields: tuple[Field, ...]
    load: Callable[[Any, Any, Row | None], Loaded]
    """(read session, context, the row under the cursor) to the form's start."""
    submit: Callable[[Any, Any, Any, dict[str, str]], str]
    """(store, config, context, values) to what was done, in words. Raises SkydeckError."""
    preview: Callable[[Loaded, dict[str, str]], Lines] = lambda loaded, values: []
    """What is to be known besides: what would be lost. Quotas and refusals come of rehearsing, not from here."""
    command: Callable[[Loaded, dict[str, str]], Sequence[Sequence[str]]] | None = None
    """The commands that do the same, without `skydeck`. Raises SkydeckError for values that have none. None: made from
    the form, as for a noun that has no commands of its own."""
    rehearsed: bool = True
    """Whether `submit` changes nothing but the database, so that it can be run and taken back while one types."""
    handed: Handed = Handed.NOBODY
    """Then `submit` is only rehearsed, and `command` is run."""
    like: Callable[[Any, Any, Row], Loaded] | None = None
    """(read session, context, row) to the start of another one like the row."""
    then: Locator | None = None
    """Where to look after it was accepted."""


def _no_lines(row: Row, now: int) -> Lines:
    return []


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """A noun, as the app shows it."""

    kind: str
    """A key of core.lists.LISTINGS."""
    title: str
    aliases: tuple[str, ...]
    """Words for `:`; the first is the shortest and is what locators show."""
    columns: tuple[Column, ...]
    verbs: tuple[Verb, ...] = ()
    """Beyond those every noun has."""
    form: Form | None = None
    cannot_new: tuple[str, str] | None = None
    """Why there is no form, and how it is done instead."""
    tabs: tuple[Tab, ...] = ()
    """Before Events and YAML, which every noun has."""
    preview: Callable[[Row, int], Lines] = _no_lines
    empty: Callable[[Any, Any], Sequence[Cell]] = lambda session, ctx: [("Nothing here.", "dim")]
    """(read session, context) to the lines an empty list shows: they name the next key."""
    enter: Callable[[Row], Locator | None] | None = None
    """Where Enter leads; None: the detail page."""
    enter_action: str = ""
    """An action of the browser for Enter instead."""
    headline: Callable[[Row, int], list[Cell]] = lambda row, now: []
    """The detail page's title line, after the name."""
    presets: Callable[[Any], Sequence[str]] = lambda ctx: ()
    """(context) to the filters that one key goes through, the empty one among them."""
    key: str = "id"
    name: str = "name"
    sort: str = "name"
    """The listing's usual order, to show and to start from."""
    faults: str = ""
    """The filter of what is wrong with these, for `Z`: `status=error`. Empty: nothing of them can be."""
    copies: tuple[str, ...] = ("id", "name")
    """Columns `c` offers."""
    commands: bool = False
    """Whether the command line has it from this declaration alone, for want of a module in tui.cli.nouns."""
