"""`skydeck finding`: where hosts and the database differ."""

from __future__ import annotations

from typing import Any

from tui.cli.commands import add_list, add_show, group
from tui.cli.noun import Filter, Noun, Row, column, document, listed, long, moment


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
