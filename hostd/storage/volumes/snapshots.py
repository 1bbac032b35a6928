"""The driver of snapshots: takes and deletes them, of volumes that are in use or not."""

from __future__ import annotations

import threading
from typing import Any, Final

from hostd.drivers import Step, StepContext
from hostd.spec import ErrorCode, HostError, ObjectKind, PowerState, SnapshotSpec, VolumeSeen, Want
from hostd.storage.instances import checked
from hostd.storage.volumes.volumes import Volumes

STEPS: Final = ("snapshot", "delete")


def plan(spec: SnapshotSpec, seen: VolumeSeen | None) -> tuple[Step, ...]:
    """The steps. Raises HostError: PROTOCOL for a spec that cannot be, NOT_FOUND for a snapshot of no volume.

    An absent snapshot is deleted as long as its volume is there: what is half taken is not seen.
    """
    if spec.want is Want.ABSENT:
        return () if seen is None else (Step("delete"),)
    if spec.want is not Want.PRESENT:
        raise HostError(ErrorCode.PROTOCOL, f"a snapshot cannot be {spec.want}")
    if seen is None:
        raise HostError(ErrorCode.NOT_FOUND, f"volume {spec.volume} is not in its backend")
    return () if spec.uuid in seen.snapshots else (Step("snapshot"),)


class SnapshotDriver:
    """hostd.drivers.PlacedDriver of snapshots. Thread-safe."""

    kind = ObjectKind.SNAPSHOT
    steps = STEPS

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes
        self._quiesced: dict[str, bool | None] = {}
        self._lock = threading.Lock()

    def look(self, spec: SnapshotSpec) -> VolumeSeen | None:
        """The volume it is of. Raises HostError(STORAGE) when the backend cannot be reached."""
        checked(spec.uuid)
        return self._volumes.backend(spec.backend).seen(checked(spec.volume))

    def plan(self, spec: SnapshotSpec, seen: VolumeSeen | None) -> tuple[Step, ...]:
        return plan(spec, seen)

    def execute(self, step: Step, spec: SnapshotSpec, context: StepContext) -> None:
        backend = self._volumes.backend(spec.backend)
        with self._volumes.turn(spec.volume):
            if step.name == "delete":
                backend.delete_snapshot(spec.volume, spec.uuid, progress=context.progress)
                return
            quiesced = backend.snapshot(spec.volume, spec.uuid, quiesce=spec.quiesce)
        with self._lock:
            self._quiesced[spec.uuid] = quiesced

    def result(self, spec: SnapshotSpec) -> tuple[PowerState | None, dict[str, Any]]:
        """{size, quiesced}: bytes of the volume now, and whether the guest's file systems were frozen meanwhile; None
        when no guest had it open, or when that was not kept over a crash."""
        with self._lock:
            quiesced = self._quiesced.pop(spec.uuid, None)
        seen = None if spec.want is Want.ABSENT else self.look(spec)
        return None, {} if seen is None else {"size": seen.size, "quiesced": quiesced}
