"""Watching operations to their end. The store says when anything changed; only then are they read again."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from core.errors import Failed
from tui.cli import report
from tui.cli.caller import Caller, caller
from tui.progress import pace
from tui.text import safe

if TYPE_CHECKING:
    from core.operations.operations import Operation

LOOK = 0.05
"""Seconds between two looks at the store's version: each takes microseconds."""

ENGINE_CHECK = 5.0
"""Seconds after which an engine that ended meanwhile is noticed."""

INTERRUPTED = 130

Show = Callable[["Operation"], None]


def finish(operations: Sequence[Operation]) -> int:
    """Wait until each has ended or needs a person, tell what became of those that did not succeed, and answer the exit
    status: 0, or 9 when one failed. Ctrl-C stops the waiting, not the operations."""
    from core.operations.operations import State

    try:
        ended = watch(caller(), operations)
    except KeyboardInterrupt:
        for operation in operations:
            report.notice(f"{_label(operation)} goes on: skydeck operation show {operation.id[:8]}")
        raise typer.Exit(INTERRUPTED) from None
    status = 0
    for operation in ended:
        if operation.state == State.SUCCEEDED:
            continue
        status = Failed.exit_code
        _tell(operation)
    return status


def watch(at: Caller, operations: Sequence[Operation]) -> list[Operation]:
    """The operations as they ended (or were blocked), in the order given. Shows their progress meanwhile."""
    from core.operations import operations as verbs
    from core.operations.operations import State

    waiting = {State.READY, State.RUNNING}
    seen: int | None = None
    checked = time.monotonic()
    with _display(at.store.clock.now) as show:
        while True:
            version = at.store.version()
            if version != seen:
                seen = version
                with at.read() as (session, ctx):
                    current = [verbs.find(session, ctx, operation.id) for operation in operations]
                for operation in current:
                    show(operation)
                if not any(operation.state in waiting for operation in current):
                    return current
            if time.monotonic() - checked > ENGINE_CHECK:
                at.ensure_engine(again=True)
                checked = time.monotonic()
            time.sleep(LOOK)


def _label(operation: Operation) -> str:
    """`web-1: create`"""
    return f"{operation.object_name}: {operation.kind.partition('.')[2].replace('_', ' ')}"


def _paced(operation: Operation) -> dict[str, Any]:
    """As `pace` reads it."""
    return {
        "state": operation.state,
        "progress": operation.progress,
        "started_at": operation.started_at,
        "copied": operation.data.get("copied"),
    }


def _tell(operation: Operation) -> None:
    from core.operations.operations import State

    error = operation.error or {}
    title = error.get("title") or f"the operation was {operation.state}"
    hint = error.get("hint") or f"skydeck operation show {operation.id[:8]}"
    if operation.state == State.BLOCKED:
        hint = f"{error.get('hint', '')} Then: skydeck operation retry {operation.id[:8]}".strip()
    report.error(f"{_label(operation)} {operation.state}: {title}", hint=hint)


@contextlib.contextmanager
def _display(now: Callable[[], int]) -> Iterator[Show]:
    """How progress is shown: bars on a terminal, a line per step elsewhere. `now` is in microseconds."""
    if sys.stderr.isatty():
        with _bars(now) as show:
            yield show
    else:
        yield _lines(now)


def _lines(now: Callable[[], int]) -> Show:
    """A line a step, and every tenth of a copy."""
    told: dict[str, str] = {}

    def show(operation: Operation) -> None:
        at = f"{operation.state} {operation.step}".strip()
        copying = operation.data.get("copied") is not None
        mark = f"{at} {operation.progress // 10 if copying else ''}"
        if told.get(operation.id) != mark:
            told[operation.id] = mark
            rate = pace(_paced(operation), now()) if copying else ""
            report.notice(f"{_label(operation)}: {at} ({operation.progress}%{', ' + rate if rate else ''})")

    return show


@contextlib.contextmanager
def _bars(now: Callable[[], int]) -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[step]}", markup=False),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def show(operation: Operation) -> None:
            if operation.id not in tasks:
                tasks[operation.id] = progress.add_task(safe(_label(operation)), total=100, step="", rate="")
            step = safe(operation.step or operation.state)
            rate = pace(_paced(operation), now())
            progress.update(tasks[operation.id], completed=operation.progress, step=step, rate=rate)

        yield show
