"""A text handed to the person's own editor, in place of the app; in a session from elsewhere, to a plain one in it.

What is edited is a file all the while, below the home directory: a crash, a cut line or a refusal loses no text.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, TextArea

from tui.widgets.lines import Line

if TYPE_CHECKING:
    from textual.screen import Screen
    from textual.widget import Widget

    from tui.app import Skydeck

REMOTE = "SKYDECK_REMOTE"
"""Set for an app that is served to somebody from elsewhere: no program of this machine is theirs to run."""

USUAL = "vi"

FOLDER = "edits"
"""Below the home directory."""


def folder(home: Path) -> Path:
    """Where texts are while they are edited."""
    found = home / FOLDER
    found.mkdir(parents=True, exist_ok=True, mode=0o700)
    return found


def place(home: Path, *words: str, suffix: str) -> Path:
    """The file for a text about something: always the same one, so that a text that was left is found again."""
    plain = "-".join(re.sub(r"[^A-Za-z0-9._]+", "-", word).strip("-.") for word in words if word)
    return folder(home) / f"{plain[:120] or 'text'}{suffix}"


def left(path: Path) -> str:
    """What was left in the file the last time; empty for nothing."""
    return _read(path) if path.exists() else ""


def keep(path: Path, text: str) -> None:
    """The text as it is before somebody changes it. Only its owner may read it."""
    path.touch(mode=0o600)
    path.write_text(text)


def local(app: Skydeck) -> bool:
    """Whether an editor of this machine may have the terminal."""
    driver = app._driver
    return REMOTE not in os.environ and driver is not None and driver.can_suspend


async def edit(app: Skydeck, path: Path, *, title: str) -> str | None:
    """The text of the file as the person left it; None when there is no editor, or they gave it up."""
    if local(app):
        return _read(path) if _run(app, path) else None
    answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    app.push_screen(Writing(title, path), answer.set_result)
    return await answer


def _read(path: Path) -> str:
    return path.read_text(errors="replace")


def _run(app: Skydeck, path: Path) -> bool:
    """Whether the editor ended well."""
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or USUAL)
    environment = dict(os.environ)
    if app.no_color:
        environment["NO_COLOR"] = "1"  # Textual takes it out of its own environment
    with app.suspend():
        # Ctrl+C is the editor's while it has the terminal.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            ended = subprocess.run([*words, str(path)], env=environment, preexec_fn=_own_interrupt).returncode
        except OSError as bad:
            ended, app_says = 1, f"the editor {words[0]} cannot be started: {bad.strerror}"
        else:
            app_says = f"the editor {words[0]} ended with {ended}" if ended else ""
        finally:
            signal.signal(signal.SIGINT, before)
    app.refresh(layout=True)
    app.news()
    if app_says:
        app.tell(app_says, "Set EDITOR to one that is there. Nothing was changed.", tone="bad")
    return not ended


def _own_interrupt() -> None:
    """In the editor's process: what is ignored here is not to be ignored there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Writing(ModalScreen[str | None]):
    """A plain editor within the app. Answers the text; None when it was given up: the file has it all the same."""

    BINDINGS = [
        Binding("ctrl+s", "done", "done", id="writing.done", show=False, priority=True),
        Binding("escape", "leave", "cancel", id="writing.leave", show=False, priority=True),
    ]

    DEFAULT_CSS = """
    Writing #text { height: 1fr; border: none; padding: 0; }
    Writing Vertical { height: 100%; background: $background; }
    """

    def __init__(self, title: str, path: Path) -> None:
        super().__init__()
        self._title = title
        self._path = path

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Line(id="title")
            yield TextArea(_read(self._path), id="text", tab_behavior="focus", show_line_numbers=False)
            yield Line(id="foot")

    def on_mount(self) -> None:
        self.query_one("#title", Line).show([(self._title, "head")])
        self.query_one("#foot", Line).show([("Ctrl+S", "key"), (" done  ", ""), ("Esc", "key"), (" give up", "")])
        self.query_one(TextArea).focus()

    @on(TextArea.Changed)
    def _changed(self) -> None:
        self._path.write_text(self.query_one(TextArea).text)

    def action_done(self) -> None:
        self.dismiss(self.query_one(TextArea).text)

    def action_leave(self) -> None:
        self.dismiss(None)


def write_file(screen: Screen[None], widget: Widget, name: str) -> None:
    """Write the file that a field names; one that names none gets one."""
    app: Skydeck = screen.app  # type: ignore[assignment]
    assert isinstance(widget, Input)

    typed = widget.value.strip()
    path = Path(typed).expanduser() if typed else place(app.seat.config.home, "user-data", name, suffix=".yaml")

    async def writing() -> None:
        try:
            _begun(path)
            if await edit(app, path, title=str(path)) is not None:
                widget.value = str(path)
        except (OSError, UnicodeDecodeError) as bad:
            app.tell(f"{path} cannot be written: {getattr(bad, 'strerror', bad)}", "", tone="bad")

    screen.run_worker(writing(), group="write", exclusive=True)


def _begun(path: Path) -> None:
    if not path.exists():
        path.write_text("#cloud-config\n")
