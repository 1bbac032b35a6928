"""What sampling costs: CPU time of the thread that does it, and of the libvirt daemon that answers it.

Nine tenths of it are libvirt's, so that a thread which knew its own time only would believe sampling to be free. What
else libvirt does in the meantime counts as well: a busy one is asked less.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

DAEMONS: Final = frozenset({"libvirtd", "virtqemud"})
"""Whichever of the two a distribution has."""

LOOK: Final = 60.0
"""Seconds between two searches for a daemon that is not there."""

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds."""


class Meter:
    """Reads both clocks. Used by the thread whose time counts."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._daemon: str | None = None
        self._look_at = 0.0

    def spent(self) -> float:
        """Seconds of CPU so far; from one to the next it may go back, when the daemon was started anew."""
        return time.thread_time() + self._daemons()

    def _daemons(self) -> float:
        spent = self._read(self._daemon) if self._daemon else None
        if spent is None and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK
            self._daemon = self._find()
            spent = self._read(self._daemon) if self._daemon else None
        return spent or 0.0

    def _read(self, pid: str) -> float | None:
        """None for a process that is gone, or is another by now."""
        try:
            _, name, fields = (self._proc / pid / "stat").read_text().replace(")", "(").split("(")
        except (OSError, ValueError):
            return None
        numbers = fields.split()
        return (int(numbers[11]) + int(numbers[12])) * _TICK if name in DAEMONS else None

    def _find(self) -> str | None:
        """Where hosts are namespaces of one machine, the outermost sees all their daemons: only its own counts."""
        own = self._namespace("self")
        for name in os.listdir(self._proc):
            if name.isdigit() and self._read(name) is not None and self._namespace(name) == own:
                return name
        return None

    def _namespace(self, pid: str) -> str:
        try:
            return os.readlink(self._proc / pid / "ns/pid")
        except OSError:
            return ""
