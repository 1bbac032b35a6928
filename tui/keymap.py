"""Keys by binding id: the movement that every page shares, what a person moved to other keys, and where two things
want the same one.

Every key of the app is declared once, with its id and its help: a noun's in its view's verbs, the list's own in
`tui.verbs.GENERAL`, movement here, and what only one screen knows in that screen's BINDINGS. A keymap names ids.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from textual.binding import Binding, BindingType
from textual.keys import Keys as Named
from textual.keys import _character_to_key, format_key

from tui.verbs import Verb, binding_id

EVERY = "every"
"""`every.describe` in a keymap: the verb of this name of every noun that has it."""


class Movement(NamedTuple):
    """A key that moves about, in lists, pages and trees alike."""

    id: str
    keys: str
    help: str


MOVES: dict[str, Movement] = {
    name: Movement(f"move.{name}", keys, help)
    for name, keys, help in (
        ("down", "j,down", "One row down"),
        ("up", "k,up", "One row up"),
        ("top", "g,home", "The first row"),
        ("bottom", "G,end", "The last row"),
        ("half_down", "ctrl+d", "Half a page down"),
        ("half_up", "ctrl+u", "Half a page up"),
        ("page_down", "ctrl+f,pagedown", "A page down"),
        ("page_up", "pageup,ctrl+b", "A page up"),
        ("left", "left", "Scroll the columns to the left; the name stays"),
        ("right", "right", "Scroll the columns to the right"),
    )
}


def moving(**actions: str) -> list[BindingType]:
    """The bindings of a screen or widget that moves so: `moving(down="scroll(1)", up="scroll(-1)")`."""
    return [
        Binding(MOVES[name].keys, action, MOVES[name].help, id=MOVES[name].id, show=False)
        for name, action in actions.items()
    ]


# ---------------------------------------------------------------------- names of keys


def normal(key: str) -> str:
    """A key as Textual names it: `?` is `question_mark`, `Ctrl+N` is `ctrl+n`."""
    key = key.strip()
    if len(key) == 1:
        return _character_to_key(key)
    *modifiers, last = key.split("+")
    last = last if len(last) == 1 and not modifiers else last.lower()
    return "+".join([*(modifier.lower() for modifier in modifiers), last])


def exists(key: str) -> bool:
    """Whether a terminal can send a key of this name."""
    name = key.rpartition("+")[2]
    if len(name) == 1 or name in {str(named.value) for named in Named}:
        return True
    return len(format_key(name)) == 1


def shown(key: str) -> str:
    """A key for a person: `?`, `Ctrl+R`, `Space`."""
    if key == "space":
        return "Space"
    *modifiers, last = key.split("+")
    last = _SHOWN.get(last) or (format_key(last) if len(format_key(last)) == 1 else last)
    if modifiers and len(last) == 1:
        last = last.upper()
    return "+".join([*(modifier.capitalize() for modifier in modifiers), last])


_SHOWN = {
    "escape": "Esc",
    "enter": "Enter",
    "pagedown": "PgDn",
    "pageup": "PgUp",
    "home": "Home",
    "end": "End",
    "down": "↓",
    "up": "↑",
    "left": "←",
    "right": "→",
    "tab": "Tab",
    "space": "Space",
    "backspace": "Backspace",
    "delete": "Del",
}


def all_shown(keys: str) -> str:
    """Several keys of one binding: `j ↓`."""
    return " ".join(shown(key) for key in keys.split(","))


# ---------------------------------------------------------------------- what a person changed


@dataclasses.dataclass(frozen=True)
class Clash:
    """Two bindings that want one key in the same place."""

    key: str
    winner: str
    """Binding id: whatever the person moved there."""
    loser: str


class Keymap:
    """The keys as they are after a person's changes. Built once; what it answers is kept."""

    def __init__(self, declared: Mapping[str, str], changes: Mapping[str, str]) -> None:
        """`declared`: binding id to its keys by comma. `changes`: the same, as a person wrote it."""
        self.unknown: list[str] = []
        """Ids of the changes that no binding has, and keys that no terminal sends, in words."""
        self.clashes: list[Clash] = []
        self.keys: dict[str, str] = {}
        """Id to keys, of every binding that is elsewhere than declared; "" for one that lost its last."""
        self._resolve(declared, changes)

    @property
    def problems(self) -> list[str]:
        """All that is wrong with the changes, a line each."""
        lost: dict[tuple[str, str], list[str]] = {}
        for clash in self.clashes:
            lost.setdefault((clash.key, clash.winner), []).append(clash.loser)
        told = []
        for (key, winner), losers in lost.items():
            more = f" and {len(losers) - 1} more have" if len(losers) > 1 else " has"
            told.append(f"{shown(key)} is {winner} now: {losers[0]}{more} lost it")
        return [*self.unknown, *told]

    def _resolve(self, declared: Mapping[str, str], changes: Mapping[str, str]) -> None:
        moved: dict[str, str] = {}
        for id, wanted in changes.items():
            wishes = [normal(key) for key in wanted.split(",") if key.strip()] if len(wanted) > 1 else [normal(wanted)]
            for key in wishes:
                if not exists(key):
                    self.unknown.append(f"keymap: there is no key {key!r} ({id})")
            place, _, name = id.partition(".")
            ids = [one for one in declared if one.endswith(f".{name}")] if place == EVERY else [id]
            ids = [one for one in ids if one in declared]
            if not ids:
                self.unknown.append(f"keymap: nothing is called {id!r}")
            if found := ",".join(key for key in wishes if exists(key)):
                moved |= {one: found for one in ids if one not in changes or one == id}
        after = {**declared, **moved}
        for id, keys in moved.items():
            for key in keys.split(","):
                for other, others in list(after.items()):
                    if other != id and key in others.split(",") and together(id, other):
                        if other in moved and (other, key) in [(clash.winner, clash.key) for clash in self.clashes]:
                            continue  # told already, the other way round
                        self.clashes.append(Clash(key, id, other))
                        after[other] = ",".join(one for one in others.split(",") if one != key)
        self.keys = {id: keys for id, keys in after.items() if keys != declared[id]}

    def textual(self) -> dict[str, str]:
        """As `App.set_keymap` takes it: what lost its last key is put where no key is."""
        return {id: keys or NOWHERE for id, keys in self.keys.items()}

    def verbs(self, place: str, verbs: Sequence[Verb]) -> tuple[Verb, ...]:
        """Verbs of a noun (`place` is its kind) or of the list (`app`), with the keys they have now."""
        if not self.keys:
            return tuple(verbs)
        return tuple(self._moved(place, verb) for verb in verbs)

    def _moved(self, place: str, verb: Verb) -> Verb:
        keys = self.keys.get(binding_id(place, verb))
        if keys is None:
            return verb
        return dataclasses.replace(verb, key=keys or NOWHERE, shown_key=all_shown(keys) if keys else "-")


NOWHERE = "f63"
"""A key that no keyboard has."""

_LIST = ("app", "move", "detail")
"""Places whose keys work wherever a noun's do."""


def together(one: str, other: str) -> bool:
    """Whether two ids are bound in the same place, so that one key cannot be both."""
    here, there = one.partition(".")[0], other.partition(".")[0]
    if here == there:
        return True
    own = _own_places()
    if here in own or there in own:
        return False
    return here in _LIST or there in _LIST


@functools.cache
def _own_places() -> frozenset[str]:
    """Places with keys of their own: pages and dialogs that stand in front of a list."""
    from tui import registry

    places = {id.partition(".")[0] for id in declared()}
    return frozenset(places - set(registry.VIEWS) - set(_LIST))


# ---------------------------------------------------------------------- what is declared


class Declared(NamedTuple):
    """One line of the help: a key, what it does, and by which id it can be moved."""

    place: str
    id: str
    keys: str
    help: str


def declarations() -> list[Declared]:
    """Every binding of the app, in the order they are shown: movement, lists, the nouns, then each screen's own."""
    from tui import registry
    from tui.verbs import GENERAL

    found = [Declared("Moving", *movement) for movement in MOVES.values()]
    found += [Declared("Lists", binding_id("app", verb), verb.key, verb.help) for verb in GENERAL]
    for view in registry.VIEWS.values():
        found += [Declared(view.title, binding_id(view.kind, verb), verb.key, verb.help) for verb in view.verbs]
    for name, bindings in _screens():
        for binding in bindings:
            if binding.id and not binding.id.startswith("move."):
                help = binding.tooltip or binding.description
                found.append(Declared(name, binding.id, binding.key, help[:1].upper() + help[1:]))
    seen: dict[str, Declared] = {}
    for one in found:
        seen.setdefault(one.id, one)
    return list(seen.values())


@functools.cache
def declared() -> Mapping[str, str]:
    """Binding id to keys, as declared."""
    return {one.id: one.keys for one in declarations()}


def _screens() -> Iterable[tuple[str, list[Binding]]]:
    """Each class of the app with bindings of its own, by the name its help goes under."""
    from textual.dom import DOMNode

    import tui

    for module in pkgutil.walk_packages(tui.__path__, "tui."):
        if not module.name.startswith("tui.cli") and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    classes, todo = [], [DOMNode]
    while todo:
        cls = todo.pop()
        todo += cls.__subclasses__()
        if cls.__module__.startswith("tui.") and cls.__dict__.get("BINDINGS"):
            classes.append(cls)
    for cls in sorted(set(classes), key=lambda cls: (cls.__module__, cls.__name__)):
        bindings = [one if isinstance(one, Binding) else Binding(*one) for one in cls.BINDINGS]
        yield _words(cls.__name__), bindings


def _words(name: str) -> str:
    """`DetailScreen` is "Detail"; the app itself is everywhere."""
    if name == "Skydeck":
        return "Everywhere"
    return " ".join(re.findall(r"[A-Z][a-z0-9]*", name.removesuffix("Screen"))).capitalize()
