"""What the palette offers besides objects: lists, commands, and what can be done to what is on the screen. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence

from tui import registry
from tui.verbs import Reason, Verb

MOST = 40
"""Lists and verbs offered at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the palette."""

    sort: str
    """object, list, command or verb."""
    key: str
    """Of an object its key, of a list its kind, else the word or the verb's name."""
    name: str
    what: str
    """The noun of an object; `list`; what kind of thing it is."""
    status: str = ""
    kind: str = ""
    note: str = ""
    rank: int = 3
    """0: just what was typed; 1: begins so; 2: a word of it begins so; 3: holds it."""
    off: bool = False
    """It cannot be done now; the note says why."""


def rank(text: str, names: Iterable[str]) -> int | None:
    """How well any of the names fits, as `Entry.rank`; None: not at all. Every word has to be in one of them."""
    found: int | None = None
    for name in names:
        name = name.lower()
        if not all(word in name for word in text.split()):
            continue
        if name == text:
            now = 0
        elif name.startswith(text):
            now = 1
        else:
            now = 2 if re.search(rf"[^a-z0-9]{re.escape(text)}", name) else 3
        found = now if found is None else min(found, now)
    return found


def offered(text: str, verbs: Sequence[Verb], why_not: Callable[[Verb], Reason | None], *, about: str) -> list[Entry]:
    """Lists, commands and verbs that a text means; all of them for none. `about`: what the verbs would be done to."""
    needle = text.strip().lower().removeprefix(":")
    found: list[Entry] = []
    for view in registry.VIEWS.values():
        words = (view.title, *view.aliases, view.kind)
        if (fits := rank(needle, words)) is not None:
            note = f"List of {view.title.lower()}"
            found.append(
                Entry(sort="list", key=view.kind, name=f":{view.title.lower()}", what="list", note=note, rank=fits)
            )
    for word in registry.COMMANDS:
        if len(word) > 1 and (fits := rank(needle, (word,))) is not None:
            found.append(Entry(sort="command", key=word, name=f":{word}", what="command", rank=fits))
    for verb in verbs:
        if (fits := rank(needle, (verb.label, verb.name.replace("_", " "), verb.help))) is None:
            continue
        why = why_not(verb)
        note = why[0] if why else verb.help
        found.append(
            Entry(
                sort="verb",
                key=verb.name,
                name=f"{verb.label}  {verb.symbol}",
                what=about if verb.needs.value != "nothing" else "here",
                note=note,
                # A word of its explanation is a weaker hit than its name.
                rank=fits if rank(needle, (verb.label, verb.name)) is not None else 3,
                off=why is not None,
            )
        )
    return sorted(found, key=lambda entry: entry.rank)[:MOST] if needle else found


def scope(text: str) -> tuple[str | None, str]:
    """(kind, the other words) of a text that begins with the word for a noun: `vol web`; else (None, the text)."""
    first, _, rest = text.strip().partition(" ")
    kind = registry.kind_of(first.removeprefix(":")) if rest.strip() else None
    return (kind, rest.strip()) if kind else (None, text.strip())


def merged(objects: Sequence[Entry], others: Sequence[Entry]) -> list[Entry]:
    """The likeliest first; of equals the word for a list, then objects, then what else there is."""

    def order(entry: Entry) -> tuple[int, int]:
        return entry.rank, 0 if entry.sort == "list" and not entry.rank else 1 if entry.sort == "object" else 2

    return sorted((*objects, *others), key=order)
