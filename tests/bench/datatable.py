"""The app one would write at first, as a baseline: every row of the same database in Textual's DataTable.

`python -m tests.bench.datatable DATABASE [watch]`; with `watch` it looks every second for rows that changed.
"""

from __future__ import annotations

import sqlite3
import sys

from textual.app import App, ComposeResult
from textual.widgets import DataTable

COLUMNS = ("name", "vm_state", "flavor_name", "host_id", "created_at")
SELECT = f"SELECT id, updated_at, {', '.join(COLUMNS)} FROM instance"


class Table(App[None]):
    def compose(self) -> ComposeResult:
        yield DataTable(cursor_type="row")

    def on_mount(self) -> None:
        self._database = sqlite3.connect(sys.argv[1])
        self._table = self.query_one(DataTable)
        for column in COLUMNS:
            self._table.add_column(column, key=column)
        self._latest = 0
        for key, changed, *row in self._database.execute(f"{SELECT} ORDER BY name"):
            self._table.add_row(*map(str, row), key=key)
            self._latest = max(self._latest, changed)
        if sys.argv[2:]:
            self.set_interval(1.0, self._follow)

    def _follow(self) -> None:
        # Widths stay: to measure a column again for each cell that shrank takes minutes.
        for key, changed, *row in self._database.execute(f"{SELECT} WHERE updated_at > ?", (self._latest,)).fetchall():
            self._latest = max(self._latest, changed)
            for column, value in zip(COLUMNS, row, strict=True):
                self._table.update_cell(key, column, str(value))


if __name__ == "__main__":
    Table().run()
