"""`skydeck audit`: who did what to what, when, from where, and what became of it."""

from __future__ import annotations

import dataclasses

from tui.cli.commands import add_list, add_show, group
from tui.cli.noun import Filter, column, document, long, moment
from tui.cli.nouns.events import EVENT

AUDIT = dataclasses.replace(
    EVENT,
    word="audit",
    columns=(
        column("ID", "id"),
        moment("At", "at"),
        column("Actor", "user_name"),
        column("Action", "action"),
        column("Object", "object_name"),
        column("From", "source"),
        column("Result", "result"),
        column("Request ID", "request_id"),
        long("Object Type", "object_kind"),
        long("Object ID", "object_id"),
        document("Before", "before", long=True),
        document("After", "after", long=True),
        long("Project", "project_id"),
    ),
    fields=(*EVENT.fields, column("result", "result")),
    filters=(
        Filter(option="--actor", column="actor", help="By users whose name holds this."),
        Filter(option="--action", column="action", help="instance.create, or one part of it: instance, create."),
        Filter(option="--object", column="object", help="To what is so named, has this id, or is of this noun."),
        Filter(option="--since", column="since", help="Not before: 30m, 2h, 7d ago, or a date, or one with a time."),
        Filter(option="--until", column="until", help="Before."),
        Filter(option="--request", column="request_id", help="Of this request."),
        Filter(option="--result", column="result", help="done, or the state of the operation: failed, succeeded."),
    ),
)

app = group("Who did what, from where, and what became of it.")
add_list(app, AUDIT, help="List what was done, the newest first.")
add_show(app, AUDIT, help="Show one act, with what was before and after.")
