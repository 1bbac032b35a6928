"""`skydeck verify`: whether everything that must always hold does."""

from __future__ import annotations

from tui.cli import output, report
from tui.cli.caller import caller
from tui.cli.commands import leave, single
from tui.cli.noun import column, number
from tui.cli.options import Format, extended, output_options

COLUMNS = (number("Invariant", "invariant"), column("Violation", "title"), column("Evidence", "evidence"))

VIOLATED = 1
"""Exit status when something does not hold."""

app = single()


def _verify() -> None:
    """Check the invariants over the database and the hosts; exits with 1 and the list when one is violated."""


def _verified(*, format: Format, columns: list[str] | None) -> None:
    from core.verify import verify

    at = caller()
    at.json_errors = format is Format.JSON
    found = verify(at.store, at.config)
    rows = [{"invariant": each.invariant, "title": each.title, "evidence": each.evidence} for each in found]
    if rows or format is not Format.TABLE:
        output.many(output.chosen(COLUMNS, columns), rows, format=format)
    if not rows:
        report.notice("everything holds")
    leave(VIOLATED if rows else 0)


app.command()(extended(_verified, _verify, output_options()))
