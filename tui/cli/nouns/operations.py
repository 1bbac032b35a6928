"""`skydeck operation`: accepted work, its steps, and why it stands where it stands."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from tui.cli import report, wait
from tui.cli.caller import caller
from tui.cli.commands import add_list, add_show, each, group, leave
from tui.cli.noun import Filter, Noun, Row, column, listed, long, moment, number
from tui.cli.options import WaitOption

_NOT_SHOWN = frozenset({"done", "begun", "undo", "funnel"})
"""What an operation's steps noted that has a field of its own."""


def _find(session: Any, ctx: Any, name: str) -> Row:
    from core.operations import operations

    found = operations.find(session, ctx, name)
    row = listed(session, ctx, "operation", found.id)
    return row | {
        "args": found.args,
        "steps": _steps(found.kind, found.data, running=found.step, state=found.state),
        "funnel": found.data.get("funnel") or None,
        "notes": {key: value for key, value in found.data.items() if key not in _NOT_SHOWN},
        "cancel": found.cancel,
    }


def _steps(kind: str, data: dict[str, Any], *, running: str, state: str) -> list[dict[str, str]]:
    from core.operations.steps import steps

    return [{"step": step.name, "state": step.state} for step in steps(kind, data, running=running, state=state)]


def _shown_steps(steps: list[dict[str, str]]) -> str:
    return "\n".join(f"{each['step']}: {each['state']}" for each in steps)


def _shown_error(error: dict[str, Any] | None) -> str:
    return "" if error is None else "\n".join(part for part in (error.get("title"), error.get("hint")) if part)


def _shown_funnel(funnel: dict[str, Any] | None) -> str:
    return "\n".join(report.funnel_lines(funnel)) if funnel else ""


def _shown_notes(notes: dict[str, Any]) -> str:
    return "\n".join(f"{key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in notes.items())


def _object(session: Any, ctx: Any, name: str) -> str:
    from core.compute.instances import verbs
    from core.errors import NotFound

    try:
        return verbs.find(session, ctx, name).id
    except NotFound:
        return name  # of a server that is gone, its id still finds what was done to it


OPERATION = Noun(
    kind="operation",
    word="operation",
    columns=(
        column("ID", "id"),
        column("Kind", "kind"),
        column("Object", "object_name"),
        column("State", "state"),
        column("Step", "step"),
        number("Progress", "progress"),
        moment("Created At", "created_at"),
        long("Object ID", "object_id"),
        long("Host", "host"),
        long("User", "user_name"),
        long("Attempt", "attempt", right=True),
        moment("Started At", "started_at", long=True),
        moment("Ended At", "ended_at", long=True),
        long("Error", "error", human=_shown_error),
        long("Request ID", "request_id"),
        long("Project", "project_id"),
    ),
    fields=(
        column("id", "id"),
        column("kind", "kind"),
        column("object_kind", "object_kind"),
        column("object_id", "object_id"),
        column("object_name", "object_name"),
        column("state", "state"),
        column("step", "step"),
        column("progress", "progress"),
        column("attempt", "attempt"),
        column("error", "error", human=_shown_error),
        column("steps", "steps", human=_shown_steps),
        column("funnel", "funnel", human=_shown_funnel),
        column("cancel_asked", "cancel"),
        column("host", "host"),
        column("args", "args", human=_shown_notes),
        column("notes", "notes", human=_shown_notes),
        column("user_name", "user_name"),
        column("request_id", "request_id"),
        column("project_id", "project_id"),
        moment("created_at", "created_at"),
        moment("started_at", "started_at"),
        moment("ended_at", "ended_at"),
    ),
    find=_find,
    filters=(
        Filter(option="--state", column="state", help="ready, running, succeeded, failed, cancelled or blocked."),
        Filter(option="--kind", column="kind", help="For example instance.create."),
        Filter(option="--server", column="object_id", help="On this server.", resolve=_object),
    ),
)

app = group("Accepted work.")
add_list(app, OPERATION, help="List operations, the newest first.")
add_show(app, OPERATION, help="Show an operation: its steps, its error, and how its host was chosen.")

OperationIds = Annotated[list[str], typer.Argument(metavar="OPERATION...", help="Ids, or beginnings of ids.")]


def _act(ids: list[str], verb: str, *, until_done: bool) -> None:
    from core.operations import operations

    act = {"cancel": operations.cancel, "retry": operations.retry}[verb]

    def one(id: str) -> Any:
        with caller().write() as (session, ctx):
            operation = act(session, ctx, id)
        report.notice(f"{operation.kind} of {operation.object_name}: {verb} accepted")
        return operation

    accepted, status = each(ids, one)
    if until_done and accepted:
        ended = wait.finish(accepted)
        # A cancel that ended in `cancelled` is what was asked for.
        status = status or (ended if verb == "retry" else 0)
    leave(status)


@app.command()
def cancel(ids: OperationIds, wait_: WaitOption = False) -> None:
    """Ask open operations to stop. What they already made is undone."""
    _act(ids, "cancel", until_done=wait_)


@app.command()
def retry(ids: OperationIds, wait_: WaitOption = False) -> None:
    """Let blocked operations try again now."""
    _act(ids, "retry", until_done=wait_)
