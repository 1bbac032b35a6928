"""`skydeck finding`: where hosts and the database differ."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tui.cli import report, wait
from tui.cli.caller import caller
from tui.cli.commands import add_list, add_show, each, group, leave
from tui.cli.noun import Filter, Noun, Row, column, document, listed, long, moment
from tui.cli.options import WaitOption


def _find(session: Any, ctx: Any, name: str) -> Row:
    return listed(session, ctx, "finding", name)


FINDING = Noun(
    kind="finding",
    word="finding",
    columns=(
        column("ID", "id"),
        column("Kind", "kind"),
        column("Host", "host"),
        column("Finding", "title"),
        column("Act", "act"),
        long("Object", "object_name"),
        long("Object ID", "object_id"),
        moment("First Seen", "first_seen", long=True),
        moment("Last Seen", "last_seen", long=True),
    ),
    fields=(
        column("id", "id"),
        column("kind", "kind"),
        column("host", "host"),
        column("object_id", "object_id"),
        column("object_name", "object_name"),
        column("title", "title"),
        column("act", "act"),
        document("evidence", "evidence"),
        moment("first_seen", "first_seen"),
        moment("last_seen", "last_seen"),
    ),
    find=_find,
    filters=(
        Filter(option="--kind", column="kind", help="For example guest_missing."),
        Filter(option="--host", column="host", help="On the host of this name."),
    ),
)

app = group("Differences between hosts and the database.")
add_list(app, FINDING, help="List open findings (admin).")
add_show(app, FINDING, help="Show a finding with its evidence (admin).")


@app.command()
def reap(
    ids: Annotated[list[str], typer.Argument(metavar="FINDING...", help="Ids of findings, or of their guests.")],
    wait_: WaitOption = False,
) -> None:
    """Remove guests, with their files, whose servers were deleted (admin)."""

    def one(id: str) -> Any:
        from core.hosts import findings

        with caller().write() as (session, ctx):
            operation = findings.reap(session, ctx, id)
        report.notice(f"guest {operation.object_name}: removal accepted")
        return operation

    accepted, status = each(ids, one)
    leave(max(status, wait.finish(accepted)) if wait_ and accepted else status)
