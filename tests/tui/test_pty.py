"""The program itself on a real terminal: it draws, obeys, gives the terminal back, and refuses one that cannot draw."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pyte
import pytest

from tests.tui import seed

RUN = "from tui.app import Skydeck; Skydeck(engine=False).run()"


def _environment(home: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "PYTHONPATH")}
    return {**kept, "SKYDECK_HOME": str(home), "TERM": "xterm-256color", "TEXTUAL_ANIMATIONS": "none", **more}


class Shown:
    """A child on a pty, and what a terminal would show of it."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.child = pexpect.spawn(
            sys.executable, ["-c", RUN], env=_environment(home, **environment), dimensions=(24, 80), timeout=10
        )  # fmt: skip
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""

    def until(self, text: str) -> None:
        for _ in range(400):
            if any(text in line for line in self.screen.display):
                return
            try:
                data = self.child.read_nonblocking(65536, timeout=0.1)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                break
            self.raw += data
            self._stream.feed(data)
        raise AssertionError("\n".join(self.screen.display))

    def settle(self, quiet: float = 0.5) -> None:
        """Read until nothing was written for so many seconds."""
        while True:
            try:
                data = self.child.read_nonblocking(65536, timeout=quiet)
            except pexpect.TIMEOUT:
                return
            self.raw += data
            self._stream.feed(data)

    def resize(self, rows: int, columns: int) -> None:
        """What the terminal is now; the child is told by its window size."""
        self.screen.resize(rows, columns)
        self.screen.reset()


def test_it_draws_obeys_and_gives_the_terminal_back(seeded: tuple[seed.Config, object]) -> None:
    shown = Shown(seeded[0].home)
    shown.until("batch-04")
    shown.until("T:2 running")
    shown.child.send("/web\r")
    shown.until(" 4/24")
    shown.child.send("d")
    shown.until("Instances > web-00")
    shown.child.send("qg")
    shown.until("Instances(admin)")
    # Typed ahead: what follows a question answers it, what follows a slash is text.
    shown.child.send("Sy/bSX\r")
    shown.until("stopping web-00")
    shown.until("Nothing matches /webbSX")
    shown.child.send("\x11")
    shown.child.expect(pexpect.EOF)
    shown.child.close()
    assert shown.child.exitstatus == 0
    assert b"\x1b[?1049l" in shown.child.before


def test_no_color_is_without_colour(seeded: tuple[seed.Config, object]) -> None:
    shown = Shown(seeded[0].home, NO_COLOR="1")
    shown.until("batch-04")
    shown.child.send("\x11")
    shown.child.expect(pexpect.EOF)
    shown.child.close()
    assert b"38;2;" not in shown.raw
    assert b"38;5;" not in shown.raw


@pytest.mark.parametrize("terminal", ["dumb", ""])
def test_a_terminal_that_cannot_draw_is_refused_with_a_sentence(tmp_path: Path, terminal: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from tui.app import run; run()"],
        env=_environment(tmp_path, TERM=terminal),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot draw" in done.stderr
    assert not done.stdout
