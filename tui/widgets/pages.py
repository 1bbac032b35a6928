"""The rows of a list as far as they have been read: pages of a window into an order that lives in the database."""

from __future__ import annotations

from tui.verbs import Row

PAGE = 256
"""Rows of a page."""

KEEP = 24
"""Pages held: enough to scroll about in, little enough to forget."""


class Pages:
    """Rows by position. A page that went stale is still drawn, until it has been read again."""

    def __init__(self) -> None:
        self.count = 0
        self._pages: dict[int, list[Row]] = {}
        self._stale: set[int] = set()

    def row(self, index: int) -> Row | None:
        """The row at a position, when its page has been read."""
        rows = self._pages.get(index // PAGE)
        at = index % PAGE
        return rows[at] if rows is not None and at < len(rows) else None

    def first(self) -> list[Row]:
        """The rows from the top, as far as they have been read."""
        return self._pages.get(0, [])

    def put(self, number: int, rows: list[Row]) -> None:
        self._pages.pop(number, None)
        self._pages[number] = rows
        self._stale.discard(number)
        while len(self._pages) > KEEP:
            oldest = next(iter(self._pages))
            del self._pages[oldest]
            self._stale.discard(oldest)

    def spoil(self) -> None:
        """Something changed: every page has to be read again before it can be trusted."""
        self._stale = set(self._pages)

    def clear(self) -> None:
        self._pages.clear()
        self._stale.clear()
        self.count = 0

    def unread(self, first: int, last: int) -> list[int]:
        """The pages that show positions first to last and are missing or stale."""
        if not self.count:
            return []
        numbers = range(max(0, first) // PAGE, max(0, min(last, self.count - 1)) // PAGE + 1)
        return [number for number in numbers if number not in self._pages or number in self._stale]

    def find(self, key: str, column: str) -> int | None:
        """Where the row with this key is, among those read and fresh."""
        for number, rows in self._pages.items():
            if number in self._stale:
                continue
            for at, row in enumerate(rows):
                if row[column] == key:
                    return number * PAGE + at
        return None
