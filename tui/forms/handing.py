"""Commands that the app hands over: what takes long goes on without it, what asks questions has the terminal.

A form says which of the two its command needs. The command is the very one that the form shows.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tui.forms import editor

if TYPE_CHECKING:
    from tui.app import Skydeck

PROGRAM = (sys.executable, "-m", "tui")

LOOK = 0.5
"""Seconds between two looks at whether it has ended: a thread that waited would keep the app from ending."""

ERROR, HINT = "error: ", "hint: "
"""What the lines of a refused command begin with."""


async def behind(app: Skydeck, line: Sequence[str]) -> None:
    """Run it in the background; it outlives the app. What it ends with is told, if somebody is still here."""
    log = editor.place(app.seat.config.home, *line, suffix=".log")
    ended = await _begun(line, log, environment(app)).ended()
    if ended:
        title, hint = _last_words(log)
        app.tell(title or f"{shlex.join(line[:2])} ended with {ended}", hint or f"See {log}.", tone="bad")
    app.news()


class _Running:
    """A process that is nobody's child in the terminal: closing that does not end it."""

    def __init__(self, line: Sequence[str], log: Path, env: dict[str, str]) -> None:
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [*PROGRAM, *line],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=env,
                start_new_session=True,
            )

    async def ended(self) -> int:
        """Its exit status. Given up with the task: the process goes on."""
        while True:
            if (ended := self._process.poll()) is not None:
                return ended
            await asyncio.sleep(LOOK)


def _begun(line: Sequence[str], log: Path, env: dict[str, str]) -> _Running:
    return _Running(line, log, env)


def _last_words(log: Path) -> tuple[str, str]:
    lines = log.read_text(errors="replace").splitlines()
    title = next((each.removeprefix(ERROR) for each in reversed(lines) if each.startswith(ERROR)), "")
    return title, next((each.removeprefix(HINT) for each in reversed(lines) if each.startswith(HINT)), "")


def environment(app: Skydeck) -> dict[str, str]:
    """That of the app, for the same cloud and project."""
    found = {**os.environ, "SKYDECK_HOME": str(app.seat.config.home)}
    return {**found, "NO_COLOR": "1"} if app.no_color else found


def in_front(app: Skydeck, line: Sequence[str]) -> bool:
    """Run it in the terminal, where it asks what it has to ask. Whether it ended well."""
    command = shlex.join(["skydeck", *line])
    if not editor.local(app):
        app.tell("it asks questions, in a terminal of its own", f"Use: {command}", tone="warn")
        return False
    with app.suspend():
        print(f"$ {command}", flush=True)
        ended = subprocess.run([*PROGRAM, *line], env=environment(app)).returncode
        print("\nEnter goes back. ", end="", flush=True)
        sys.stdin.readline()
    app.refresh(layout=True)
    app.news()
    app.tell(f"{command} ended with {ended}" if ended else f"done: {command}", tone="bad" if ended else "ok")
    return not ended
