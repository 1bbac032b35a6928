"""Whether an engine runs, and starting one: what every command that enqueues work asks, so it imports nothing heavy.

The engine is whoever holds the lock file. Whoever starts an engine takes the lock first and hands it over with the new
process, so that of two commands at once one starts an engine and the other sees it, even before it has begun.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from core.config import Config
from core.door import SOCKET as DOOR
from core.errors import Unavailable

LOCK = "serve.lock"
START_WITHIN = 10.0

_started: list[subprocess.Popen[bytes]] = []
"""The engines that this process has started, as far as it knows them to live."""


def take_lock(config: Config) -> int | None:
    """The engine's lock as an open file, or None when another process has it. It goes with its holder, however that
    ends."""
    config.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(config.run_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def sign(lock: int, pid: int) -> None:
    """Write the holder's pid into the lock file, for people."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{pid}\n".encode(), 0)


def running(config: Config) -> bool:
    """Whether an engine runs, or is being started, on this machine for this home."""
    lock = take_lock(config)
    if lock is None:
        return True
    os.close(lock)
    return False


def ensure(config: Config, *, wait: bool = False) -> None:
    """See to it that an engine runs: start one in the background when there is none. Returns at once, or with `wait`
    when its door is open. Raises Unavailable when it does not open, naming the log."""
    lock = take_lock(config)
    if lock is not None:
        try:
            _start(config, lock)
        finally:
            os.close(lock)  # the new process has it
    if wait:
        deadline = time.monotonic() + START_WITHIN
        while not _door_open(config.run_dir / DOOR):
            if time.monotonic() > deadline:
                raise Unavailable("the engine did not start", hint=f"See {config.log_file}.")
            time.sleep(0.02)


def _start(config: Config, lock: int) -> None:
    log = os.open(config.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        # Its own session: it outlives the terminal that happened to start it.
        engine = subprocess.Popen(
            [sys.executable, "-m", "core.serve", "--background", "--lock", str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock],
            start_new_session=True,
            cwd="/",
            env={**os.environ, "SKYDECK_HOME": str(config.home), "SKYDECK_DATABASE_URL": config.database_url},
        )
    finally:
        os.close(log)
    sign(lock, engine.pid)
    # Whoever outlives the engines it started, as the app may, collects those that have ended as it starts another.
    _started[:] = [engine, *(one for one in _started if one.poll() is None)]


def _door_open(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
        return True
    return False
