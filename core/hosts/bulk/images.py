"""Carrying an image into a host's cache: one attempt."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from core.hosts.bulk.frames import CHUNK, STALL, Frames, Work
from hostd.spec import Receive, Received, Receiving

Progress = Callable[[int, int], None]
"""Called in the event loop with (bytes done, bytes in all), a few times a second."""

_HASHING: Final = 100 * CHUNK
"""Bytes a second at which even a slow host hashes what it holds of an image before it answers."""

_PROGRESS_EVERY: Final = 0.1


class Sending(Work):
    def __init__(self, connect: Callable[[], Frames], path: Path, digest: str, *, progress: Progress | None) -> None:
        super().__init__(connect)
        self._path = path
        self._digest = digest
        self._progress = progress
        self.offset = -1
        """Where the host let this attempt begin: how far earlier ones came. -1 when it never answered."""

    def __call__(self) -> Received:
        with self._path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            frames = self._open()
            try:
                patience = STALL + size / _HASHING
                receiving: Receiving = frames.call(
                    "receive", Receive(digest=self._digest, size=size), patience=patience
                )
                self.offset = receiving.offset
                frames.send_file(file, offset=receiving.offset, size=size, sent=self._reporter(size))
                received: Received = frames.answer(Received, patience=patience)
                if self._progress is not None:
                    self._progress(size, size)
                return received
            finally:
                frames.close()

    def _reporter(self, size: int) -> Callable[[int], None]:
        reported = 0.0

        def report(done: int) -> None:
            nonlocal reported
            now = time.monotonic()
            if self._progress is not None and now - reported >= _PROGRESS_EVERY:
                reported = now
                self._progress(done, size)

        return report
