"""What is kept between two openings of a form: a draft that was left, and what was chosen when it was last submitted.

Drafts live as long as the app. Choices of the last time are a small file beside the configuration, for the next start.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tui.forms.launch_line import Launching
from tui.view import Form

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "forms.json"

Key = tuple[str, str, str]
"""Kind of noun, title of the form, key of the object it is about."""


class Kept:
    """One app's memory of its forms."""

    def __init__(self) -> None:
        self._drafts: dict[Key, dict[str, str]] = {}
        self._chosen: dict[str, dict[str, str]] | None = None
        self.launching = Launching()
        """What the line of `:launch` knows while it is typed."""

    # ------------------------------------------------------------------ drafts

    def leave(self, key: Key, values: Mapping[str, str]) -> None:
        """Keep what was typed, until it is submitted or begun anew."""
        self._drafts[key] = dict(values)

    def draft(self, key: Key) -> dict[str, str] | None:
        return self._drafts.get(key)

    def drop(self, key: Key) -> None:
        self._drafts.pop(key, None)

    # ------------------------------------------------------------------ the last time

    def chosen(self, home: Path, project: str, kind: str, form: Form) -> dict[str, str]:
        """Field to what it was when the form was last submitted in this project."""
        return self._read(home).get(_name(project, kind, form), {})

    def submitted(self, home: Path, project: str, kind: str, form: Form, values: Mapping[str, str]) -> None:
        """Remember the choices that are worth it. A home that cannot be written costs nothing but the memory."""
        worth = {field.name: values[field.name] for field in form.fields if field.kept and field.name in values}
        if not worth:
            return
        known = self._read(home)
        known[_name(project, kind, form)] = worth
        with contextlib.suppress(OSError):
            fresh = home / f".{FILE}.{os.getpid()}"
            fresh.write_text(json.dumps(known, indent=1))
            fresh.replace(home / FILE)

    def _read(self, home: Path) -> dict[str, dict[str, str]]:
        if self._chosen is None:
            self._chosen = {}
            with contextlib.suppress(OSError, ValueError):
                found = json.loads((home / FILE).read_text())
                self._chosen = {
                    str(name): {str(field): str(value) for field, value in values.items()}
                    for name, values in found.items()
                }
        return self._chosen


def _name(project: str, kind: str, form: Form) -> str:
    return f"{project} {kind} {form.title}"
