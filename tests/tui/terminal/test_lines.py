"""The program on terminals that misbehave: closed, held, resized without end, inside tmux and screen, far away."""

from __future__ import annotations

import base64
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from core.compute.instances.table import Instance
from core.config import Config
from core.store import Store
from tests.tui import seed
from tests.tui.test_pty import Shown

Cloud = tuple[Config, Store]


def _leave(shown: Shown) -> None:
    shown.child.send("\x11")
    shown.child.expect(r"\x1b\[\?1049l")
    shown.child.close()


def _hang_up(shown: Shown) -> None:
    """Close the terminal's end, and look after the child no more."""
    shown.child.ptyproc.fileobj.close()
    shown.child.ptyproc.closed = shown.child.closed = True


def test_the_app_ends_with_its_terminal_and_leaves_no_process(seeded: Cloud) -> None:
    for number in (signal.SIGHUP, signal.SIGTERM, None):
        shown = Shown(seeded[0].home)
        shown.until("T:2 running")
        pid = shown.child.pid
        if number is None:
            _hang_up(shown)  # the link is gone: the kernel tells
        else:
            os.kill(pid, number)
        deadline = time.monotonic() + 20
        while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
            assert time.monotonic() < deadline, number
            if number is not None and select.select([shown.child.child_fd], [], [], 0.05)[0]:
                try:
                    os.read(shown.child.child_fd, 65536)
                except OSError:
                    continue
        assert ended[0] == pid
        with pytest.raises(ProcessLookupError):
            os.killpg(pid, 0)
        if number is not None:
            _hang_up(shown)


def _held(pid: int) -> int:
    """Bytes the process wrote so far."""
    return int(re.search(r"wchar: (\d+)", Path(f"/proc/{pid}/io").read_text())[1])  # type: ignore[index]


def test_a_terminal_that_is_not_read_stalls_neither_operations_nor_the_app(seeded: Cloud) -> None:
    _, store = seeded
    shown = Shown(seeded[0].home)
    shown.until("T:2 running")
    # Nobody reads from here on. Keys arrive, rows change, an operation makes its steps.
    took = []
    for step in range(60):
        shown.child.send("G" if step % 2 else "g")
        began = time.monotonic()
        with store.write() as session:
            state = ("active", "stopped", "paused")[step % 3]
            session.execute(update(Instance).values(vm_state=state, task_state=None))
            session.execute(update(seed.Operation).values(progress=step))
        took.append(time.monotonic() - began)
        time.sleep(0.05)  # what a person does is not instantaneous
    assert max(took) < 5
    before = _held(shown.child.pid)
    with store.write() as session:
        session.execute(update(Instance).values(vm_state="error", name="late"))
    time.sleep(1.0)
    assert _held(shown.child.pid) - before < 200_000  # it draws no frame that nobody takes
    # It never stopped listening: it hears that it is to end while its terminal is stuck, or draws what is true now.
    shown.until("late")
    shown.settle()
    assert sum("late" in line and "ERROR" in line for line in shown.screen.display) >= 15
    _leave(shown)


def test_it_hears_signals_while_its_terminal_is_stuck(seeded: Cloud) -> None:
    shown = Shown(seeded[0].home)
    shown.until("T:2 running")
    shown.child.send("gG" * 200)
    time.sleep(1.0)
    os.kill(shown.child.pid, signal.SIGHUP)
    deadline = time.monotonic() + 20
    while os.waitpid(shown.child.pid, os.WNOHANG) == (0, 0):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    _hang_up(shown)


def test_a_storm_of_sizes_ends_in_the_right_one(seeded: Cloud) -> None:
    shown = Shown(seeded[0].home)
    shown.until("T:2 running")
    for step in range(120):
        rows, columns = (5 + step * 7 % 60, 12 + step * 13 % 150)
        shown.child.setwinsize(rows, columns)
    shown.child.setwinsize(30, 100)
    shown.resize(30, 100)
    shown.child.send("g")
    shown.until("T:2 running")
    shown.until("── batch-04 ─")
    assert shown.screen.display[0].startswith("skydeck  local > admin")
    shown.child.setwinsize(24, 80)
    shown.resize(24, 80)
    shown.until("? help")
    _leave(shown)


@pytest.mark.parametrize(
    ("environment", "wrapped"),
    [
        ({}, "\x1b]52;c;%s\x07"),
        ({"TERM": "tmux-256color", "TMUX": "/x,1,0"}, "\x1bPtmux;\x1b\x1b]52;c;%s\x07\x1b\\"),
        ({"TERM": "screen-256color", "STY": "1.x"}, "\x1bP\x1b]52;c;%s\x07\x1b\\"),
    ],
    ids=["bare", "tmux", "screen"],
)
def test_what_is_copied_reaches_the_persons_clipboard(seeded: Cloud, environment: dict[str, str], wrapped: str) -> None:
    shown = Shown(seeded[0].home, **environment)
    shown.until("T:2 running")
    shown.child.send("cn")
    shown.until("copied the name")
    payload = base64.b64encode(b"batch-04").decode()
    assert (wrapped % payload).encode() in shown.raw
    _leave(shown)


@pytest.fixture
def multiplexer(tmp_path: Path) -> Iterator[Path]:
    """tmux of its own, ended afterwards."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    socket = tmp_path / "tmux.sock"
    yield socket
    subprocess.run(["tmux", "-S", socket, "kill-server"], capture_output=True, check=False)


def test_in_tmux_it_draws_and_its_copy_becomes_tmux_own(seeded: Cloud, multiplexer: Path) -> None:
    run = "from tui.app import Skydeck; Skydeck(engine=False).run()"
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment = {**inherited, "SKYDECK_HOME": str(seeded[0].home), "TEXTUAL_ANIMATIONS": "none"}

    def tmux(*words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", multiplexer, "-f", "/dev/null", *words],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    def until(text: str) -> None:
        for _ in range(300):
            if text in tmux("capture-pane", "-p"):
                return
            time.sleep(0.05)
        raise AssertionError(tmux("capture-pane", "-p"))

    tmux("new-session", "-d", "-x", "80", "-y", "24", "sleep 1000")
    tmux("set", "-g", "set-clipboard", "on")
    tmux("respawn-pane", "-k", f"{sys.executable} -c '{run}'")
    until("T:2 running")
    tmux("send-keys", "c", "n")
    until("copied the name")
    for _ in range(100):
        if (kept := tmux("list-buffers", "-F", "#{buffer_sample}")).strip():
            break
        time.sleep(0.05)
    assert kept.strip() == "batch-04"
    tmux("resize-window", "-x", "34", "-y", "92")
    until("n new")
    tmux("send-keys", "C-q")


SLOW_LINK = 6_500
"""Bytes that scrolling the whole list by one row may write at 80x24: a second at 52 kbit/s."""


def test_a_slow_link_gets_few_bytes_for_a_key(seeded: Cloud) -> None:
    shown = Shown(seeded[0].home)
    shown.until("T:2 running")
    shown.settle()

    def bytes_for(keys: str) -> int:
        before = len(shown.raw)
        shown.child.send(keys)
        shown.settle()
        return len(shown.raw) - before

    assert bytes_for("j") < 1500  # two lines and what depends on the row
    assert bytes_for("G") < SLOW_LINK
    assert bytes_for("k") < 1500
    before = len(shown.raw)
    shown.settle(2.5)
    assert len(shown.raw) - before < 200  # watching costs nothing
    _leave(shown)
