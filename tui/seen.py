"""What a list showed last time: the first thing on the screen at the next start, while core loads and the store opens,
or for as long as the database does not answer.

A small file per list beside the histories, readable by its owner alone. Nothing can be done to rows from it: they are
looked at, and say when they were read. It may vanish at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.config import Config
    from core.context import Context

VERSION: Final = 1
"""Of the file. Rows of another one are not understood."""

ROWS: Final = 100
"""More lines than terminals have."""

FILES: Final = 20
"""Lists that are remembered: the newest."""

FOLDER: Final = "seen"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """The top of a list."""

    at: int
    """Microseconds since the epoch, by the store's clock: when it was read."""
    count: int
    """Rows of the whole list."""
    rows: list[dict[str, Any]]


class Memory:
    """The lists of one person at one cloud."""

    def __init__(self, state: Path, config: Config, *, project: str | None) -> None:
        self._folder = state / FOLDER
        self._whose = (str(VERSION), config.database_url, config.user, project or config.project)

    def own(self, ctx: Context) -> bool:
        """Whether this is the project that the next start begins in."""
        return not ctx.all_projects and self._whose[-1] in (ctx.project_name, ctx.project_id)

    def recall(self, locator: str) -> Seen | None:
        """What the list showed, when that is known."""
        try:
            kept = json.loads(self._file(locator).read_text())
            return Seen(at=int(kept["at"]), count=int(kept["count"]), rows=[dict(row) for row in kept["rows"]])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, locator: str, *, at: int, count: int, rows: Sequence[dict[str, Any]]) -> None:
        """Remember it. Rows that text cannot hold, or a directory that cannot be written, are no reason to complain."""
        with contextlib.suppress(OSError, TypeError, ValueError):
            text = json.dumps({"at": at, "count": count, "rows": rows[:ROWS]})
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "w") as file:
                file.write(text)
            os.replace(name, self._file(locator))
            files = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
            for old in files[FILES:]:
                old.unlink()

    def _file(self, locator: str) -> Path:
        name = "\n".join((*self._whose, locator))
        return self._folder / hashlib.sha256(name.encode()).hexdigest()[:32]
