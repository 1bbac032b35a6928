"""The progress of bytes coming in: a bar on a terminal, a line every tenth elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from tui.cli import report
from tui.text import safe, size

Progress = Callable[[int, int | None], None]
"""(bytes so far, bytes in all or None)."""

_UNKNOWN_EVERY = 256 << 20
"""Bytes between two lines about a transfer of unknown length."""


@contextlib.contextmanager
def shown(name: str) -> Iterator[Progress]:
    """Shows one transfer on stderr."""
    if not sys.stderr.isatty():
        yield _lines(name)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(safe(name), total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _lines(name: str) -> Progress:
    told = -1

    def show(done: int, total: int | None) -> None:
        nonlocal told
        at = 10 * done // total if total else done // _UNKNOWN_EVERY
        if at != told:
            told = at
            report.notice(f"{name}: {size(done)}" + (f" of {size(total)}" if total else ""))

    return show
