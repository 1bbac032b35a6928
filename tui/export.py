"""The list on the screen as a file: json, csv, yaml, or the screen itself as SVG.

Rows are read and written page by page: 50,000 of them need no more memory than one page does, and the list goes on
living meanwhile. A file that exists is never written over.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from tui.text import safe
from tui.verbs import Choice, Row

if TYPE_CHECKING:
    from tui.screens.acting import ActingScreen
    from tui.seat import Seat

PAGE: Final = 1000
"""Rows read and written at once."""

FORMATS: Final = ("json", "csv", "yaml", "svg")

CHOICES: Final = tuple(
    Choice(key=name[0], label=f"[{name[0]}]{name[1:]}{' picture' if name == 'svg' else ''}", value=name)
    for name in FORMATS
)

_FORMULA: Final = ("=", "+", "-", "@")
"""What a spreadsheet would compute (OWASP, CSV injection)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Format:
    """How rows become text: what begins, joins and ends them."""

    begin: Callable[[Sequence[str]], str]
    """Columns to what stands first."""
    rows: Callable[[Sequence[str], Sequence[Row], bool], str]
    """(columns, rows, whether they are the first) to text."""
    end: str = ""


def _json(columns: Sequence[str], rows: Sequence[Row], first: bool) -> str:
    lines = (json.dumps({name: row.get(name) for name in columns}, default=str) for row in rows)
    text = ",\n".join(f"  {line}" for line in lines)
    return text if first or not text else f",\n{text}"


def _csv(columns: Sequence[str], rows: Sequence[Row], first: bool) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> str:
    """Nothing that a terminal obeys or a spreadsheet computes."""
    if value is None:
        return ""
    if isinstance(value, str):
        return ("'" if value.startswith(_FORMULA) else "") + safe(value)
    return safe(json.dumps(value, default=str)) if isinstance(value, dict | list | tuple) else str(value)


def _yaml(columns: Sequence[str], rows: Sequence[Row], first: bool) -> str:
    import yaml

    # By way of json: plain data, whatever rows are made of.
    plain = json.loads(json.dumps([{name: row.get(name) for name in columns} for row in rows], default=str))
    return str(yaml.safe_dump(plain, sort_keys=False)) if plain else ""


_WRITERS: Final[dict[str, _Format]] = {
    "json": _Format(begin=lambda columns: "[\n", rows=_json, end="\n]\n"),
    "csv": _Format(begin=lambda columns: ",".join(columns) + "\n", rows=_csv),
    "yaml": _Format(begin=lambda columns: "", rows=_yaml),
}


def target(kind: str, ending: str, path: str = "") -> Path:
    """Where to write: the path that was typed, else a new name in the working directory."""
    if path:
        return Path(path).expanduser().absolute()
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = Path.cwd() if os.access(Path.cwd(), os.W_OK) else Path.home()
    return folder / f"skydeck-{kind.replace('_', '-')}-{stamp}.{ending}"


def _create(path: Path) -> TextIO:
    """A new file for its owner alone. Raises OSError, FileExistsError too."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w", encoding="utf-8")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which rows, in which order."""

    kind: str
    sort: str
    where: dict[str, str]
    text: str
    keys: frozenset[str] | None
    """Only these; None: all."""


def rows(seat: Seat, wanted: Wanted, form: str, path: Path, written: Callable[[int], None]) -> int:
    """Write the rows and answer how many; `written` hears of every page. Waits: for a thread of its own.

    All of it is one snapshot of the store. Raises OSError, SkydeckError.
    """
    from core import listing as lists

    writer, listing = _WRITERS[form], seat.listings[wanted.kind]
    columns = list(listing.columns)
    order: dict[str, Any] = {"sort": wanted.sort, "where": wanted.where, "text": wanted.text}
    done, offset = 0, 0
    file = _create(path)
    try:
        with file, seat.store.read() as session:
            file.write(writer.begin(columns))
            while page := lists.window(session, seat.ctx, listing, offset=offset, limit=PAGE, **order):
                chosen = [row for row in page if wanted.keys is None or row[listing.key] in wanted.keys]
                file.write(writer.rows(columns, chosen, done == 0))
                done += len(chosen)
                offset += len(page)
                written(done)
            file.write(writer.end)
    except BaseException:
        path.unlink(missing_ok=True)  # half a file is none
        raise
    return done


def picture(screen: ActingScreen, path: Path) -> None:
    """The screen as it is, as SVG. Raises OSError."""
    svg = screen.app.export_screenshot(title="skydeck")
    with _create(path) as file:
        file.write(svg)
