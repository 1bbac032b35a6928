"""Checksums of images: digests by their length, and the lists of them that distributions publish."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from core.errors import Invalid, NotFound

ALGORITHMS: Final = {64: "sha256", 128: "sha512"}
"""Hex digits to the algorithm whose digest has so many."""

LONGEST_LIST: Final = 1 << 20
"""Bytes of a list."""

_HEX: Final = r"(?P<hex>[0-9a-fA-F]{64}|[0-9a-fA-F]{128})"
_LINES: Final = (
    re.compile(rf"{_HEX}(?:\s+\*?(?P<name>\S.*?))?\s*"),  # coreutils; alone in its file it needs no name
    re.compile(rf"SHA(?:256|512) \((?P<name>.+)\) = {_HEX}\s*"),  # BSD
)


def check(digest: str) -> str:
    """The digest in lower case. Raises Invalid for what is no sha256 or sha512."""
    if len(digest) not in ALGORITHMS or not re.fullmatch(r"[0-9a-fA-F]+", digest):
        raise Invalid(f"{digest[:140]!a} is no sha256 or sha512", hint="give 64 or 128 hex digits")
    return digest.lower()


def algorithm(digest: str) -> str:
    """Of a digest that `check` has passed."""
    return ALGORITHMS[len(digest)]


def of_file(path: Path, name: str) -> str:
    """The file's digest by the algorithm of that name."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


def named(text: str, url: str) -> str:
    """The digest that a list has for the file a URL names; sha512 where it has both.

    Raises NotFound when it has none, Invalid when it has two of a kind that differ.
    """
    wanted = unquote(urlsplit(url).path.rpartition("/")[2])
    found: set[str] = set()
    alone: list[str] = []
    for line in text.splitlines():
        match = next((match for pattern in _LINES if (match := pattern.fullmatch(line))), None)
        if match is None:
            continue
        name = match["name"]
        if name is None:
            alone.append(match["hex"].lower())
        elif name.rpartition("/")[2] == wanted:
            found.add(match["hex"].lower())
    if not found and len(alone) == 1:
        found = {*alone}
    if not found:
        raise NotFound(f"the list of checksums has none of {wanted}", hint="Is it the list of this very image?")
    longest = max(map(len, found))
    (digest, *others) = [one for one in found if len(one) == longest]
    if others:
        raise Invalid(f"the list of checksums has {len(others) + 1} different ones of {wanted}")
    return digest
