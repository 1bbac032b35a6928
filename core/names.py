"""What a person may call things. Names are shown in terminals and told to guests, so control characters are out."""

from __future__ import annotations

import re
import unicodedata

from core.errors import Invalid

LONGEST = 255
_NOT_HOST = re.compile(r"[^a-z0-9-]+")


def check(name: str, what: str) -> str:
    """`name`, when it may be one. Raises Invalid: empty, too long, blanks around it, or unprintable characters."""
    if not name or name != name.strip():
        raise Invalid(f"a {what} needs a name without blanks around it", hint=f"It was {name!r}.")
    if len(name) > LONGEST:
        raise Invalid(f"the {what}'s name is longer than {LONGEST} characters")
    if any(unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for letter in name):
        raise Invalid(f"the {what}'s name holds unprintable characters", hint=f"It was {name!r}.")
    return name


def hostname(name: str, fallback: str) -> str:
    """A DNS label for a guest, as nova makes one from a display name: lower case, hyphens, at most 63 characters."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    label = _NOT_HOST.sub("-", plain.replace("_", "-").replace(" ", "-")).strip("-")[:63].rstrip("-")
    return label or fallback
