"""What the drivers of volumes and of snapshots share: the backends of this host, and a turn for each volume."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from hostd.drivers import DiskSource, LiveDisks
from hostd.spec import BackendSeen, BackendSpec, ErrorCode, HostError, VolumeDisk
from hostd.storage.volumes.backend import Backend, Progress
from hostd.storage.volumes.registry import Make, make

PATIENCE: Final = 10.0
"""Seconds a backend gets to answer a look."""

OPENING: Final = 30.0
"""Seconds that a guest's start waits for work on one of its volumes."""

log = logging.getLogger(__name__)


class Nobody:
    """LiveDisks of a host without guests."""

    def holder(self, volume: str) -> str | None:
        return None

    def opens(self, volume: str) -> Path | None:
        return None

    def resize(self, volume: str, size: int) -> None:
        raise self._nobody(volume)

    def overlay(self, volume: str, top: Path, *, quiesce: bool) -> bool:
        raise self._nobody(volume)

    def still(self, volume: str, *, quiesce: bool) -> contextlib.AbstractContextManager[bool | None]:
        return contextlib.nullcontext()

    def merge(self, volume: str, *, top: Path, base: Path, progress: Progress) -> None:
        raise self._nobody(volume)

    def _nobody(self, volume: str) -> HostError:
        return HostError(ErrorCode.BAD_STATE, f"no running guest of this host has volume {volume}")


class _Turn:
    """A lock that can be forgotten when nobody holds or awaits it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()


class Volumes:
    """hostd.drivers.Storage. Thread-safe."""

    def __init__(self, *, state: Path, run: Path, backends: Make = make, patience: float | None = PATIENCE) -> None:
        """Touches nothing. `state` and `run` are hostd's directories; `patience` None looks at backends in place, one
        after the other, instead of in threads."""
        self._state = state
        self._run = run
        self._make = backends
        self._patience = patience
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()
        self._looking: dict[str, tuple[threading.Thread, float]] = {}
        self._lock = threading.Lock()
        self.live: LiveDisks = Nobody()
        """Set once, before the first call: the guest driver, which itself is given these volumes."""

    def backend(self, spec: BackendSpec) -> Backend:
        """As this host reaches it; not reached for yet. Raises HostError(PROTOCOL)."""
        return self._make(spec, state=self._state, run=self._run, live=self.live)

    def source(self, disk: VolumeDisk) -> DiskSource:
        """What a guest opens now. Raises HostError(NOT_FOUND, STORAGE)."""
        return self.backend(disk.backend).source(disk.volume)

    @contextlib.contextmanager
    def turn(self, volume: str) -> Iterator[None]:
        """Have a volume to oneself, among the threads of this daemon. A thread may ask again for what it has."""
        with self._all((volume,), patience=-1):
            yield

    @contextlib.contextmanager
    def _all(self, volumes: Iterable[str], *, patience: float) -> Iterator[None]:
        """The turns of these volumes; `patience` in seconds, -1 for ever."""
        with self._lock:
            turns = {uuid: self._turns.setdefault(uuid, _Turn()) for uuid in sorted(set(volumes))}
        with contextlib.ExitStack() as stack:
            for uuid, turn in turns.items():
                if not turn.lock.acquire(timeout=patience):
                    raise HostError(
                        ErrorCode.BAD_STATE,
                        f"volume {uuid} is being worked on",
                        hint="a snapshot of it is being deleted, or it is being copied: try again when that is done",
                    )
                stack.callback(turn.lock.release)
            yield

    @contextlib.contextmanager
    def opening(self, *volumes: str) -> Iterator[None]:
        """What `source` says stays so while a guest begins to open these volumes: a layer that were put on top, or
        merged, in the meantime would be written behind its back. Raises HostError(BAD_STATE) for one that is being
        worked on for longer than a start can wait."""
        with self._all(volumes, patience=OPENING):
            yield

    # ------------------------------------------------------------------------ for observers

    def seen(self, asked: Iterable[BackendSpec]) -> tuple[BackendSeen, ...]:
        """Every backend, in the order asked, all looked at side by side; one that hangs is told as unreachable."""
        specs = list(asked)
        if self._patience is None:
            return tuple(self._look(spec) for spec in specs)
        until = time.monotonic() + self._patience
        waiting = [(spec, self._begin(spec)) for spec in specs]
        return tuple(self._answer(spec, answers, until) for spec, answers in waiting)

    def _begin(self, spec: BackendSpec) -> queue.SimpleQueue[BackendSeen] | None:
        """Look in a thread of its own; None while an earlier look still hangs: threads shall not pile up."""
        answers: queue.SimpleQueue[BackendSeen] = queue.SimpleQueue()
        with self._lock:
            known = self._looking.get(spec.uuid)
            if known is not None and known[0].is_alive() and time.monotonic() - known[1] > PATIENCE:
                return None
            thread = threading.Thread(
                target=lambda: answers.put(self._look(spec)), name=f"look-{spec.uuid[:8]}", daemon=True
            )
            self._looking[spec.uuid] = (thread, time.monotonic())
        thread.start()
        return answers

    def _answer(self, spec: BackendSpec, answers: queue.SimpleQueue[BackendSeen] | None, until: float) -> BackendSeen:
        if answers is not None:
            with contextlib.suppress(queue.Empty):
                return answers.get(timeout=max(0.0, until - time.monotonic()))
        return BackendSeen(
            uuid=spec.uuid,
            reachable=False,
            detail=f"the {spec.driver} backend does not answer",
            hint="look at the network, and at the server or mount behind it, from this host",
        )

    def _look(self, spec: BackendSpec) -> BackendSeen:
        try:
            backend = self.backend(spec)
            pool = backend.pool()
            seen = BackendSeen(
                uuid=spec.uuid,
                reachable=True,
                total=pool.total,
                free=pool.free,
                volumes=tuple(backend.volumes()),
                capabilities=tuple(sorted(can.value for can in backend.can)),
            )
        except HostError as bad:
            return BackendSeen(uuid=spec.uuid, reachable=False, detail=bad.error.message, hint=bad.error.hint)
        except Exception as bad:
            # The edge of a look: one backend's fault hides no other.
            log.exception("a look at backend %s", spec.uuid)
            return BackendSeen(uuid=spec.uuid, reachable=False, detail=repr(bad), hint="see hostd's log on the host")
        return seen
