"""Exports that are files beside records: the volume's bytes, or for a root disk its image's."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from hostd.drivers import DiskSource, Step, StepContext
from hostd.memory.guests import MemoryGuests
from hostd.memory.records import Record
from hostd.spec import ErrorCode, ExportSpec, HostError, ObjectKind, PowerState, Want
from hostd.storage import sparse
from hostd.storage.instances import checked


class MemoryExports:
    """drivers.Driver of exports."""

    kind = ObjectKind.EXPORT
    steps = ("export", "delete")

    def __init__(self, records: MutableMapping[str, Record], *, guests: MemoryGuests, files: Path) -> None:
        """`files` is a directory for the copies; it need not exist yet."""
        self._records = records
        self._guests = guests
        self._files = files

    def seen(self, uuid: str) -> Record | None:
        return self._records.get(uuid)

    def plan(self, spec: ExportSpec, seen: Record | None) -> tuple[Step, ...]:
        if spec.want is Want.ABSENT:
            return (Step("delete"),) if seen is not None else ()
        return () if seen is not None else (Step("export"),)

    def execute(self, step: Step, spec: ExportSpec, context: StepContext) -> None:
        target = self._files / checked(spec.uuid)
        if step.name == "delete":
            target.unlink(missing_ok=True)
            self._records.pop(spec.uuid, None)
            return
        source, size = self._guests.disk(spec.instance, spec.disk, context.cache)
        self._files.mkdir(parents=True, exist_ok=True)
        if source is None:
            target.write_bytes(b"")
        else:
            sparse.copy(source, target)
        os.truncate(target, max(size, target.stat().st_size))
        context.progress(100)
        self._records[spec.uuid] = {"quiesced": spec.quiesce and self._guests.is_on(spec.instance)}

    def result(self, spec: ExportSpec) -> tuple[PowerState | None, dict[str, Any]]:
        if (record := self._records.get(spec.uuid)) is None:
            return None, {}
        return None, {"quiesced": record["quiesced"], "size": (self._files / spec.uuid).stat().st_size}

    def source(self, uuid: str) -> DiskSource:
        """The copy, to be read. Raises HostError(NOT_FOUND)."""
        if uuid not in self._records:
            raise HostError(ErrorCode.NOT_FOUND, f"no export {uuid} on this host")
        return DiskSource(type="file", format="raw", name=str(self._files / checked(uuid)))
