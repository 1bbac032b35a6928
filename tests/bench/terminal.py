"""What a person at the terminal waits for, and what it costs: `first_paint`, `tui_first_rows`, `tui_live_rows`,
`tui_key_p50`, `tui_key_p99`, `tui_idle_cpu`, `tui_rss`, `tui_row_bytes`, `tui_idle_bytes`, `version_ms`.

Programs run in a pseudo-terminal of 80 by 24 and are timed by what they write, at 1,000, 10,000 and 50,000 rows on as
many hosts as a cloud of that size has. The baselines are the least Textual app, the same rows in Textual's DataTable
(`datatable`), and Python doing nothing. Ours and theirs take turns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import pty
import random
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

from sqlalchemy import update
from sqlmodel import col

from core import cloud, serve
from core.compute.instances.table import Instance
from core.store import Clock, Store, now
from tests.bench.common import quantile, record
from tests.bench.ground import median, took
from tests.lab.hosts import REPOSITORY
from tests.tui import seed

SIZES = ((1_000, 10), (10_000, 100), (50_000, 500))
"""Instances and hosts."""

ROUNDS = 3
KEYS = 40
"""Each round."""

STARTS = 30
WATCHED = 10.0
"""Seconds of watching, with a hundredth of the rows changing every second."""

REST = 10.0
"""Seconds of watching with nothing changing, for the bytes of an idle minute."""

SCROLLED = 20
"""Rows, each of which moves the whole list by one."""

SKYDECK = (str(Path(sys.executable).with_name("skydeck")),)
LEAST = (sys.executable, "-c", "from textual.app import App; App().run()")
FRAME = re.compile(rb"\x1b\[1;1H")
"""The cursor goes home to draw the first line."""

ROW = re.compile(rb"(?:%s)-\d\d" % "|".join(seed.NAMES).encode())
LIVE = re.compile(rb"live ")
"""In the top line once the rows are the database's, and not those of the last time."""

DOWN = b"\x1b[B"
QUIET = 0.15
"""Seconds without a byte after which a screen counts as drawn."""

PATIENCE = 60.0


def run() -> None:
    _version()
    for instances, hosts in SIZES:
        with tempfile.TemporaryDirectory(prefix="skydeck-bench-") as folder:
            home = Path(folder)
            _, store, ctx = seed.fresh(home, clock=Clock())
            seed.populate(store, ctx, instances=instances)
            with store.write() as session:
                for number in range(4, hosts + 1):
                    seed.host(session, f"kvm{number:03d}")
                # An engine that never comes: one that starts would look for hosts that there are not.
                cloud.take_lease(session, owner="bench", lasts=86_400_000_000)
            with _no_engine(home), contextlib.closing(store):
                _size(home, store, instances)


def _version() -> None:
    ours, theirs = [], []
    for _ in range(STARTS):
        ours.append(took(lambda: subprocess.run([*SKYDECK, "--version"], check=True, capture_output=True)))
        theirs.append(took(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)))
    record("version_ms", 1000 * median(ours), "ms", 1000 * median(theirs), STARTS)


def _size(home: Path, store: Store, count: int) -> None:
    environ = {**os.environ, "SKYDECK_HOME": str(home), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    table = (sys.executable, "-m", "tests.bench.datatable", str(home / "skydeck.db"))
    with _Terminal(SKYDECK, environ) as terminal:
        terminal.until(LIVE)  # the start that remembers for the others
        terminal.quit()
    at: dict[str, list[float]] = {name: [] for name in ("paint", "least", "rows", "live", "keys", "rows*", "keys*")}
    for _ in range(ROUNDS):
        with _Terminal(SKYDECK, environ) as terminal:
            at["paint"].append(terminal.until(FRAME))
            at["rows"].append(terminal.until(ROW))
            at["live"].append(terminal.until(LIVE))
            at["keys"] += terminal.keys(KEYS)
        with _Terminal(table, environ) as terminal:
            at["rows*"].append(terminal.until(ROW))
            at["keys*"] += terminal.keys(KEYS)
        with _Terminal(LEAST, environ) as terminal:
            at["least"].append(terminal.until(FRAME))
    size = f"{count // 1000}k"
    record("first_paint", 1000 * median(at["paint"]), "ms", 1000 * median(at["least"]), ROUNDS)
    record(f"tui_first_rows_{size}", 1000 * median(at["rows"]), "ms", 1000 * median(at["rows*"]), ROUNDS)
    record(f"tui_live_rows_{size}", 1000 * median(at["live"]), "ms", 1000 * median(at["rows*"]), ROUNDS)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        ours, theirs = quantile(at["keys"], share), quantile(at["keys*"], share)
        record(f"tui_key_{name}_{size}", 1000 * ours, "ms", 1000 * theirs, len(at["keys"]))
    ours = _watched(SKYDECK, environ, LIVE, store, count)
    theirs = _watched((*table, "watch"), environ, ROW, store, count)
    record(f"tui_idle_cpu_{size}", ours.cpu, "%", theirs.cpu, 1)
    record(f"tui_rss_{size}", ours.rss, "MB", theirs.rss, 1)
    few = {key: value for key, value in environ.items() if key != "COLORTERM"}
    ours, theirs = _written(SKYDECK, few, LIVE), _written(table, few, ROW)
    record(f"tui_row_bytes_{size}", ours.row, "B", theirs.row, SCROLLED)
    record(f"tui_idle_bytes_{size}", ours.minute, "B/min", theirs.minute, 1)


@dataclasses.dataclass(frozen=True)
class _Cost:
    cpu: float = 0.0
    """Percent of a core."""
    rss: float = 0.0
    """MB, after watching."""
    row: float = 0.0
    """Bytes written for each row by which the list moves."""
    minute: float = 0.0
    """Bytes written in a minute in which nothing happens."""


def _watched(
    command: tuple[str, ...], environ: dict[str, str], ready: re.Pattern[bytes], store: Store, count: int
) -> _Cost:
    """What it takes to follow a cloud in which a hundredth of the rows changes every second."""
    with _Terminal(command, environ) as terminal:
        terminal.until(ready)
        terminal.rest(3.0)
        chance, before, began = random.Random(count), terminal.cpu(), time.monotonic()
        while (at := time.monotonic()) < began + WATCHED:
            _change(store, chance, count)
            terminal.rest(max(0.0, at + 1.0 - time.monotonic()))
        spent = (terminal.cpu() - before) / (time.monotonic() - began)
        return _Cost(cpu=100 * spent, rss=terminal.rss())


def _change(store: Store, chance: random.Random, count: int) -> None:
    first = chance.randrange(count)
    with store.write() as session:
        ids = [seed.instance_id((first + at * 97) % count) for at in range(count // 100)]
        state = chance.choice(("active", "stopped", "paused"))
        session.execute(
            update(Instance).where(col(Instance.id).in_(ids)).values(vm_state=state, updated_at=now(session))
        )


def _written(command: tuple[str, ...], environ: dict[str, str], ready: re.Pattern[bytes]) -> _Cost:
    with _Terminal(command, environ) as terminal:
        terminal.until(ready)
        terminal.keys(30)  # to the bottom of the screen and beyond
        before = terminal.written
        terminal.keys(SCROLLED - 1)  # one more is pressed to begin with
        row = (terminal.written - before) / SCROLLED
        terminal.rest(3.0)
        before = terminal.written
        terminal.rest(REST)
        return _Cost(row=row, minute=(terminal.written - before) * 60 / REST)


class _Terminal:
    """A program in a pseudo-terminal, killed at the end."""

    def __init__(self, command: tuple[str, ...], environ: dict[str, str]) -> None:
        self._heard = b""
        self.written = 0
        """Bytes so far."""
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

    def rest(self, seconds: float) -> None:
        """Read what it writes, and do nothing."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._read(left)

    def quit(self) -> None:
        """Leave by its own key, and wait until it is gone."""
        os.write(self._screen, b"\x11")
        with contextlib.suppress(AssertionError):
            while self._read(PATIENCE):
                pass

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> float:
        """Resident memory in MB."""
        status = Path(f"/proc/{self._pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def _read(self, patience: float) -> bool:
        if not select.select([self._screen], [], [], patience)[0]:
            return False
        with contextlib.suppress(OSError):  # the program has ended
            if data := os.read(self._screen, 1 << 16):
                self._heard = self._heard[-65536:] + data
                self.written += len(data)
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
