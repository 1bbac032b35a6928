"""Waking the engine: a datagram, sent after a commit that enqueued work. Losing one costs half a second, not work."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

SOCKET = "wake.sock"


def wake(run_dir: Path) -> None:
    """Tell the engine to look now. Never blocks, never fails: it also looks by itself."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.setblocking(False)
        bell.sendto(b"!", str(run_dir / SOCKET))
