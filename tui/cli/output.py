"""Results on stdout: table, json, yaml, csv, value.

Everything passes `safe` on its way to a person's terminal; json and yaml keep every character, and write all that is
not printable ASCII escaped, so that they are safe as well.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from typing import Any

from core.errors import Invalid
from tui.cli.noun import Column, Row, column
from tui.cli.options import Format
from tui.text import safe


def many(columns: Sequence[Column], rows: Sequence[Row], *, format: Format) -> None:
    """Print a list."""
    match format:
        case Format.JSON:
            _json([{each.header: each.data(row) for each in columns} for row in rows])
        case Format.YAML:
            _yaml([{each.header: each.data(row) for each in columns} for row in rows])
        case Format.CSV:
            writer = csv.writer(sys.stdout, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
            writer.writerow([each.header for each in columns])
            writer.writerows([_cell(each.data(row), none="") for each in columns] for row in rows)
        case Format.VALUE:
            for row in rows:
                print(" ".join(str(_cell(each.data(row), none="None")) for each in columns))
        case Format.TABLE:
            _table(columns, rows)


def one(fields: Sequence[Column], row: Row, *, format: Format) -> None:
    """Print a single object."""
    match format:
        case Format.JSON:
            _json({each.header: each.data(row) for each in fields})
        case Format.YAML:
            _yaml({each.header: each.data(row) for each in fields})
        case Format.CSV:
            many(fields, [row], format=format)
        case Format.VALUE:
            for each in fields:
                print(_cell(each.data(row), none="None"))
        case Format.TABLE:
            _table(
                (column("Field", "field"), column("Value", "value")),
                [{"field": each.header, "value": each.shown(row)} for each in fields],
            )


def chosen(columns: Sequence[Column], wanted: Sequence[str] | None, *, long: bool = False) -> list[Column]:
    """The columns to print, in their own order as openstack's client has it. Raises Invalid for one that is not."""
    if not wanted:
        return [each for each in columns if long or not each.long]
    names = {name.lower() for name in wanted}
    unknown = names - {each.header.lower() for each in columns}
    if unknown:
        raise Invalid(
            f"there is no column {', '.join(sorted(unknown))!r}",
            hint=f"There are {', '.join(repr(each.header) for each in columns)}.",
        )
    return [each for each in columns if each.header.lower() in names]


def _cell(value: Any, *, none: str) -> str | int | float:
    if value is None:
        return none
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return safe(value)


def _json(data: Any) -> None:
    print(json.dumps(data, indent=2))


def _yaml(data: Any) -> None:
    import yaml

    # Through JSON first: tuples and enums are no plain YAML.
    yaml.safe_dump(json.loads(json.dumps(data)), sys.stdout, sort_keys=False, default_flow_style=False)


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Folded to a terminal's width; as wide as it needs to be in a file or a pipe.
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if terminal else 1_000_000)
    table = Table(box=box.ASCII2, header_style="bold")
    for each in columns:
        table.add_column(Text(each.header), justify="right" if each.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("\n".join(map(safe, each.shown(row).split("\n")))) for each in columns))
    console.print(table)
