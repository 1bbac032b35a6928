"""Where the app looks, as one line of text: `TYPE [project|@all] [/filter] [col=value…] [sort=-col]`.

The same string is what `:` takes, what the status bar shows, what history keeps and what the program starts with.
"""

from __future__ import annotations

import dataclasses
import re

_COLUMN = re.compile(r"^([a-z_0-9]+)(!?)=(.*)$", re.IGNORECASE)

ALL = "@all"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Locator:
    """A list, its filter and its order."""

    kind: str
    """A key of the registry's VIEWS."""
    project: str = ""
    """Another project to work in; empty: the present one; `@all`: every project."""
    filter: str = ""
    """As typed after the `/`: words, `!word`, `col=value`, `col=!value`."""
    sort: str = ""
    """`col` or `-col`; empty: the listing's own."""
    over: str = ""
    """A screen that stands in front of the list, such as `pulse`: going back to the list opens it again. Not shown."""

    def show(self, alias: str) -> str:
        """The locator as text that `parse` reads back."""
        parts = [f":{alias}", self.project, f"/{self.filter}" if self.filter else ""]
        return " ".join([part for part in parts if part] + ([f"sort={self.sort}"] if self.sort else []))


def parse(text: str) -> tuple[str, Locator]:
    """(the first word, a locator without kind). The caller finds the noun that the word means."""
    words = text.strip().removeprefix(":").split()
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
    for word in text.split():
        match = _COLUMN.match(word)
        if match and match[3].strip("!"):
            column, negated, value = match.groups()
            where[column.lower()] = ("!" if negated else "") + value
        elif match:
            continue  # still being typed
        else:
            words.append(word)
    return where, "" if words == ["!"] else " ".join(words)
