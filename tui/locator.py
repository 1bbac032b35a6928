"""Where the app looks, as one line of text: `TYPE [project|@all] [/filter] [col=value…] [sort=-col]`.

The same string is what `:` takes, what the status bar shows, what history keeps and what the program starts with.
"""

from __future__ import annotations

import dataclasses
import re

_COLUMN = re.compile(r"^([a-z_0-9]+)(!?)=(.*)$", re.IGNORECASE)
_WORD = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
"""Quotes hold blanks: `network="my net"`."""

ALL = "@all"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Locator:
    """A list, its filter and its order."""

    kind: str
    """A key of the registry's VIEWS."""
    project: str = ""
    """Another project to work in; empty: the present one; `@all`: every project."""
    filter: str = ""
    """As typed after the `/`: words, `!word`, `col=value`, `col=one,another`, `col=!value`; `-f` makes words fuzzy."""
    sort: str = ""
    """`col` or `-col`; empty: the listing's own."""
    over: str = ""
    """A screen that stands in front of the list, such as `pulse`: going back to the list opens it again. Not shown."""
    cursor: str = dataclasses.field(default="", compare=False)
    """The object the cursor stood on when this was left: going back goes there. Not shown."""
    trail: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    """The lists and objects that were opened to come here, outermost first. Not shown."""

    def show(self, alias: str) -> str:
        """The locator as text that `parse` reads back."""
        parts = [f":{alias}", self.project, f"/{self.filter}" if self.filter else ""]
        return " ".join([part for part in parts if part] + ([f"sort={self.sort}"] if self.sort else []))


def parse(text: str) -> tuple[str, Locator]:
    """(the first word, a locator without kind). The caller finds the noun that the word means."""
    words = split_words(text.strip().removeprefix(":"))
    if not words:
        return "", Locator(kind="")
    project, sort, terms, filtering = "", "", [], False
    for word in words[1:]:
        if word.startswith("/"):
            filtering = True
            word = word[1:]
            if not word:
                continue
        if word.startswith("sort="):
            sort = word.removeprefix("sort=")
        elif filtering or _COLUMN.match(word):
            terms.append(word)
        else:
            project = word
    return words[0], Locator(kind="", project=project, filter=" ".join(terms), sort=sort)


def split_filter(text: str) -> tuple[dict[str, str], str]:
    """A filter as the listings take it: ({column: value or !value}, free text). `col!=v` is `col=!v`."""
    where: dict[str, str] = {}
    words: list[str] = []
    for word in split_words(text):
        match = _COLUMN.match(word)
        if match and match[3].strip('!"'):
            column, negated, value = match.groups()
            where[column.lower()] = ("!" if negated else "") + value.replace('"', "")
        elif match:
            continue  # still being typed
        else:
            words.append(word.replace('"', ""))
    return where, "" if words in (["!"], ["-f"], ["-f", "!"]) else " ".join(words)


def split_words(text: str) -> list[str]:
    """The words of a locator or a filter; what is quoted is in one of them, its quotes too."""
    return _WORD.findall(text)


def quoted(value: str) -> str:
    """A value for `col=value`, in quotes when it has blanks."""
    return f'"{value}"' if " " in value else value


def without(filter: str, terms: str) -> str:
    """A filter less some of its words."""
    gone = set(split_words(terms))
    return " ".join(word for word in split_words(filter) if word not in gone)
