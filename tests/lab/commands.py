"""What the lab and the demo share: the installed command, and the end of a background engine."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from pathlib import Path

SKYDECK = Path(sys.executable).with_name("skydeck")


def stop_engine(home: Path) -> None:
    """End the background engine of a SKYDECK_HOME, and wait until it has."""
    lock = home / "run" / "serve.lock"
    if not lock.exists():
        return
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.kill(int(file.read().split()[0]), signal.SIGTERM)
            fcntl.flock(file, fcntl.LOCK_EX)
