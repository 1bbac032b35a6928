"""`skydeck event`: the audit trail."""

from __future__ import annotations

from typing import Any

from core.errors import NotFound
from tui.cli.commands import add_list, add_show, group
from tui.cli.noun import Filter, Noun, Row, column, document, listed, long, moment


def _find(session: Any, ctx: Any, name: str) -> Row:
    if not name.isdecimal():
        raise NotFound(f"no event {name!r}", hint="skydeck event list shows their numbers.")
    return listed(session, ctx, "event", int(name))


EVENT = Noun(
    kind="event",
    word="event",
    columns=(
        column("ID", "id"),
        moment("At", "at"),
        column("Action", "action"),
        column("Object", "object_name"),
        column("User", "user_name"),
        column("Source", "source"),
        long("Object ID", "object_id"),
        long("Request ID", "request_id"),
        document("Before", "before", long=True),
        document("After", "after", long=True),
        long("Project", "project_id"),
    ),
    fields=(
        column("id", "id"),
        moment("at", "at"),
        column("action", "action"),
        column("object_kind", "object_kind"),
        column("object_id", "object_id"),
        column("object_name", "object_name"),
        document("before", "before"),
        document("after", "after"),
        column("user_name", "user_name"),
        column("source", "source"),
        column("request_id", "request_id"),
        column("project_id", "project_id"),
    ),
    find=_find,
    filters=(
        Filter(option="--action", column="action", help="For example instance.create."),
        Filter(option="--object-kind", column="object_kind", help="For example instance."),
        Filter(option="--object", column="object_id", help="To the object of this id."),
        Filter(option="--user", column="user_name", help="By this user."),
        Filter(option="--request", column="request_id", help="Of this request."),
    ),
)

app = group("Who did what, when, and how it was before and after.")
add_list(app, EVENT, help="List events, the newest first.")
add_show(app, EVENT, help="Show an event.")
