"""What could be typed next in the command line and in a filter. Pure: says what to look up, and puts the answer in.

`:i web /sta` wants a column, `:i status=er` a value of status, `:i d` a project. A candidate is a whole line, so that
taking it is typing it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from tui.locator import ALL, quoted, split_words

MOST = 40
"""Candidates offered."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One that is offered."""

    shown: str
    line: str
    """The whole line when it is taken."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the word under the cursor is."""

    what: str
    """`word`, `project`, `column`, `sort`, `value`, `argument` (of a command), or `` for nothing that is known."""
    before: str
    """The line before what is completed."""
    typed: str
    """What there is of it."""
    column: str = ""
    """Of which a value is typed."""

    def candidates(self, found: Iterable[str]) -> list[Candidate]:
        """Those that contain what is typed; those that begin with it first."""
        needle = self.typed.strip('"').lower()
        ends = {"column": "=", "word": ""}.get(self.what, "")
        holding = [one for one in found if needle in one.lower()]
        holding.sort(key=lambda one: not one.lower().startswith(needle))
        if self.what == "argument":
            # Of several words only the last is new.
            return [Candidate(one.strip().rpartition(" ")[2], f"{self.before}{one}") for one in holding[:MOST]]
        return [Candidate(one, f"{self.before}{quoted(one)}{ends}") for one in holding[:MOST]]

    def terms(self, columns: Iterable[str]) -> list[Candidate]:
        """In the place of a project a filter may begin as well: `status=`."""
        if self.what != "project" or not self.typed:
            return []
        return dataclasses.replace(self, what="column").candidates(columns)


def asked(text: str, *, is_command: Callable[[str], bool]) -> Asked:
    """What is typed at the end of a command line (without its `:`)."""
    word, blank, rest = text.lstrip().partition(" ")
    if not blank:
        return Asked("word", "", word)
    if is_command(word):
        return Asked("argument", f"{word} ", rest.lstrip(), column=word)
    before, last = _last(text)
    filtering = any(one.startswith("/") for one in split_words(before)[1:])
    if last.startswith("/"):
        filtering, before, last = True, f"{before}/", last[1:]
    if last.startswith("sort="):
        sign = "-" if last.startswith("sort=-") else ""
        return Asked("sort", f"{before}sort={sign}", last.removeprefix("sort=").removeprefix("-"))
    if filtering or "=" in last:
        return _term(before, last)
    return Asked("project", before, last)


def asked_filter(text: str) -> Asked:
    """What is typed at the end of a filter (without its `/`)."""
    return _term(*_last(text))


def _last(text: str) -> tuple[str, str]:
    words = split_words(text)
    if not words or (text.endswith(" ") and words[-1].count('"') % 2 == 0):
        return text, ""
    return text[: len(text) - len(words[-1])], words[-1]


def _term(before: str, last: str) -> Asked:
    if "=" not in last:
        return Asked("column", before, last)
    column, _, value = last.partition("=")
    done, comma, typed = value.removeprefix("!").rpartition(",")
    kept = f"{column}={'!' if value.startswith('!') else ''}{done}{comma}"
    return Asked("value", before + kept, typed, column=column.removesuffix("!"))


def projects(names: Sequence[str]) -> list[str]:
    """What may stand in the place of a project."""
    return [ALL, *names]
