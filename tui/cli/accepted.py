"""What was accepted and is not done yet: told with its operation, and waited for when asked to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tui.cli import report, wait
from tui.cli.caller import caller
from tui.cli.commands import Outcome, each, leave
from tui.cli.noun import Noun


def operate(
    names: Sequence[str],
    act: Callable[[Any, Any, str], Any],
    *,
    word: str,
    doing: str,
    until_done: bool,
    all_projects: bool = False,
) -> None:
    """Enqueue one operation for each object, in a transaction of its own; wait for all of them at once when asked to.
    `act` (session, context, name) answers the operation."""

    def one(name: str) -> Any:
        with caller().write(all_projects=all_projects) as (session, ctx):
            operation = act(session, ctx, name)
        report.notice(f"{word} {operation.object_name or name}: {doing} accepted, operation {operation.id[:8]}")
        return operation

    accepted, status = each(names, one)
    if until_done and accepted:
        status = status or wait.finish(accepted)
    leave(status)


def begin(act: Callable[[Any, Any], Any], said: str, *, until_done: bool) -> None:
    """Enqueue what `act` (session, context) answers, one operation or several, and say so: `server web: …`."""
    with caller().write() as (session, ctx):
        done = act(session, ctx)
    started = done if isinstance(done, list) else [done]
    report.notice(f"{said} accepted, operation {', '.join(one.id[:8] for one in started)}")
    leave(wait.finish(started) if until_done else 0)


def made(noun: Noun, act: Callable[[Any, Any], tuple[Any, Any]], *, until_done: bool) -> Outcome:
    """What `act` (session, context) makes in one transaction, as (row, operation): shown as `became` has it."""
    with caller().write() as (session, ctx):
        new, operation = act(session, ctx)
    return became(noun, new, operation, until_done=until_done)


def became(noun: Noun, new: Any, operation: Any, *, until_done: bool) -> Outcome:
    """A new object, shown as accepted, or as it became. What became of it is worth seeing even when it failed."""
    status = wait.finish([operation]) if until_done else 0
    with caller().read() as (session, ctx):
        return Outcome(noun.find(session, ctx, new.id), status)
