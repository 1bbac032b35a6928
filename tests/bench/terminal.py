"""What a person at the terminal waits for: `first_paint`, `first_rows_50k`, `key_paint_p50`, `version_ms`.

Programs run in a pseudo-terminal of 80 by 24 and are timed by what they write. The baselines are the least Textual app,
the same rows in Textual's DataTable (`datatable`), and Python doing nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core import serve
from tests.bench.common import record
from tests.bench.ground import median, took
from tests.lab.hosts import REPOSITORY
from tests.tui import seed

INSTANCES = 50_000
ROUNDS = 7
KEYS = 60
STARTS = 30

SKYDECK = (str(Path(sys.executable).with_name("skydeck")),)
LEAST = (sys.executable, "-c", "from textual.app import App; App().run()")
FRAME = re.compile(rb"\x1b\[1;1H")
"""The cursor goes home to draw the first line."""

ROW = re.compile(rb"(?:%s)-\d\d" % "|".join(seed.NAMES).encode())
DOWN = b"\x1b[B"
QUIET = 0.15
"""Seconds without a byte after which a screen counts as drawn."""

PATIENCE = 60.0


def run() -> None:
    _version()
    with tempfile.TemporaryDirectory(prefix="skydeck-bench-") as folder:
        home = Path(folder)
        _, store, ctx = seed.fresh(home)
        seed.populate(store, ctx, instances=INSTANCES)
        store.close()
        with _no_engine(home):
            _app(home)


def _version() -> None:
    ours, theirs = [], []
    for _ in range(STARTS):
        ours.append(took(lambda: subprocess.run([*SKYDECK, "--version"], check=True, capture_output=True)))
        theirs.append(took(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)))
    record("version_ms", 1000 * median(ours), "ms", 1000 * median(theirs), STARTS)


def _app(home: Path) -> None:
    environ = {**os.environ, "SKYDECK_HOME": str(home), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    table = (sys.executable, "-m", "tests.bench.datatable", str(home / "skydeck.db"))
    paint, rows, keys = [], [], []
    least, table_rows, table_keys = [], [], []
    for _ in range(ROUNDS):
        with _Terminal(SKYDECK, environ) as terminal:
            paint.append(terminal.until(FRAME))
            rows.append(terminal.until(ROW))
            keys += terminal.keys(KEYS // ROUNDS)
        with _Terminal(LEAST, environ) as terminal:
            least.append(terminal.until(FRAME))
        with _Terminal(table, environ) as terminal:
            table_rows.append(terminal.until(ROW))
            table_keys += terminal.keys(KEYS // ROUNDS)
    record("first_paint", 1000 * median(paint), "ms", 1000 * median(least), ROUNDS)
    record("first_rows_50k", 1000 * median(rows), "ms", 1000 * median(table_rows), ROUNDS)
    record("key_paint_p50", 1000 * median(keys), "ms", 1000 * median(table_keys), len(keys))


class _Terminal:
    """A program in a pseudo-terminal, killed at the end."""

    def __init__(self, command: tuple[str, ...], environ: dict[str, str]) -> None:
        self._heard = b""
        self._began = time.perf_counter()
        self._pid, self._screen = pty.fork()
        if self._pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            os.chdir(REPOSITORY)
            os.execve(command[0], command, environ)

    def __enter__(self) -> _Terminal:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._screen)

    def until(self, pattern: re.Pattern[bytes]) -> float:
        """Seconds from exec until it has written this."""
        while not pattern.search(self._heard):
            if not self._read(PATIENCE):
                raise AssertionError(f"nothing for {PATIENCE:.0f} s after {self._heard[-500:]!r}")
        return time.perf_counter() - self._began

    def keys(self, count: int) -> list[float]:
        """Seconds from each press of the down key until the first byte of what it changes."""
        delays = []
        for _ in range(count + 1):
            while self._read(QUIET):
                pass
            began = time.perf_counter()
            os.write(self._screen, DOWN)
            if not self._read(PATIENCE):
                raise AssertionError("a key changed nothing")
            delays.append(time.perf_counter() - began)
        return delays[1:]  # the first one may load what the others find

    def _read(self, patience: float) -> bool:
        if not select.select([self._screen], [], [], patience)[0]:
            return False
        with contextlib.suppress(OSError):  # the program has ended
            if data := os.read(self._screen, 1 << 16):
                self._heard += data
                return True
        raise AssertionError(f"it ended: {self._heard[-2000:].decode(errors='replace')}")


@contextmanager
def _no_engine(home: Path) -> Iterator[None]:
    """Hold the engine's place: one that starts would look for hosts that there are not."""
    (home / "run").mkdir(exist_ok=True)
    lock = os.open(home / "run" / serve.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
