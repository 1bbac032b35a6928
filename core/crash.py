"""Labelled points at which the engine can be made to die, so that recovery is tested and not hoped for.

A point is armed by `SKYDECK_CRASH=label` in the environment, or by the label in the file `run/crash`, which is
removed as the process dies: it fires once. The labels follow from the kinds' steps, so that a new step is tested
without anybody remembering to.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

ENVIRONMENT = "SKYDECK_CRASH"
FILE = "crash"


class CrashPoints:
    """Kills this process at the armed label."""

    def __init__(self, run_dir: Path | None) -> None:
        self._label = os.environ.get(ENVIRONMENT)
        self._file = run_dir / FILE if run_dir else None

    def at(self, label: str) -> None:
        """Does not return when `label` is armed."""
        if label == self._label:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._file is not None and self._file.exists() and self._file.read_text().strip() == label:
            self._file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
