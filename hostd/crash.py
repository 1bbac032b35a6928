"""Labelled points at which the daemon can be made to die, so that recovery is tested and not hoped for.

A point is armed by `SKYDECK_CRASH=label` in the environment of one process, or by the label in the file
`RUN/crash`, which is removed as the process dies: it fires once. The labels follow from the drivers'
steps, so that a new step is tested without anybody remembering to.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from hostd.drivers import AnyDriver
from hostd.spec import ACTS

ENVIRONMENT: Final = "SKYDECK_CRASH"

IMAGE_LABELS: Final = ("image:partial", "image:verified", "image:renamed")
"""While an image is received: after its first bytes, before and after it gets its name."""

READ_ACTS: Final = frozenset({"console_log", "storage_seen"})
"""Acts that change nothing: neither journalled nor crash points."""


class CrashPoints:
    """Kills the process at the armed label. Thread-safe."""

    def __init__(self, *, label: str | None, file: Path | None) -> None:
        self._label = label
        self._file = file

    def at(self, label: str) -> None:
        """Does not return when `label` is armed."""
        if label == self._label:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._file is None:
            return
        try:
            armed = self._file.read_text().strip()
        except FileNotFoundError:
            return
        if armed == label:
            self._file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


NEVER: Final = CrashPoints(label=None, file=None)


def labels(drivers: Iterable[AnyDriver]) -> Iterator[str]:
    """Every label there is, in the order in which one apply would meet them."""
    for driver in drivers:
        yield f"{driver.kind}:intent"
        for step in driver.steps:
            yield f"{driver.kind}.{step}:before"
            yield f"{driver.kind}.{step}:after"
        yield f"{driver.kind}:outcome"
    yield "act:intent"
    for verb in ACTS:
        if verb not in READ_ACTS:
            yield f"act.{verb}:before"
            yield f"act.{verb}:after"
    yield "act:outcome"
    yield from IMAGE_LABELS
