"""The app one would write at first, as a baseline: every row of the same database in Textual's DataTable.

`python -m tests.bench.datatable DATABASE`.
"""

from __future__ import annotations

import sqlite3
import sys

from textual.app import App, ComposeResult
from textual.widgets import DataTable

COLUMNS = ("name", "vm_state", "flavor_name", "host_id", "created_at")


class Table(App[None]):
    def compose(self) -> ComposeResult:
        yield DataTable(cursor_type="row")

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        table.add_columns(*COLUMNS)
        with sqlite3.connect(sys.argv[1]) as database:
            rows = database.execute(f"SELECT {', '.join(COLUMNS)} FROM instance ORDER BY name")
            table.add_rows(tuple(map(str, row)) for row in rows)


if __name__ == "__main__":
    Table().run()
