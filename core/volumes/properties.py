"""The free key=value pairs of volumes and snapshots (cinder's metadata), and of types and QoS specs."""

from __future__ import annotations

from typing import Final

from core import names
from core.errors import Invalid

MOST: Final = 128
"""Pairs of one object."""


def merged(
    had: dict[str, str], given: dict[str, str] | None = None, *, unset: tuple[str, ...] = (), what: str = "property"
) -> dict[str, str]:
    """`had`, changed. Raises Invalid for too many, for a key or value that is too long, and for a key to unset that is
    not there."""
    for key in unset:
        if key not in had:
            raise Invalid(f"there is no {what} {key[:40]!r}", hint=f"There are: {', '.join(sorted(had)) or 'none'}.")
    found = {key: value for key, value in (had | (given or {})).items() if key not in unset}
    if len(found) > MOST:
        raise Invalid(f"{len(found)} of at most {MOST} are too many", hint="Unset some.")
    for key, value in found.items():
        if not key or len(key) > names.LONGEST or len(value) > names.LONGEST:
            raise Invalid(f"{what} {key[:40]!r}: keys and values have at most {names.LONGEST} characters")
        if not key.isprintable():
            raise Invalid(f"{what} {key[:40]!r} holds unprintable characters")
    return found
