"""Which disk a `read` or `write` means: found in a backend or among the exports, and opened."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from hostd.drivers import DiskSource
from hostd.spec import BackendSpec, ErrorCode, HostError, Read, Write
from hostd.storage.volumes.backend import Backend, Can, Extent
from hostd.streams import nbd
from hostd.streams.disks import Reader, Writer


class OpenDisk(Reader, Writer, Protocol):
    """An open disk, of either way."""

    @property
    def size(self) -> int: ...

    def only(self, ranges: Iterable[Extent] | None) -> None:
        """Tell of these ranges alone, when they are known."""


class Open(Protocol):
    """How a disk is opened: `nbd.opened`, or `plain.opened` where files are all there is."""

    def __call__(self, source: DiskSource, *, read_only: bool, run: Path) -> AbstractContextManager[OpenDisk]: ...


class HostDisks:
    """The disks of this host. streams.disks.Disks."""

    def __init__(
        self,
        *,
        backend: Callable[[BackendSpec], Backend],
        export: Callable[[str], DiskSource],
        holder: Callable[[str], str | None],
        run: Path,
        open: Open = nbd.opened,
    ) -> None:
        """`export` tells where a copy is, by its uuid, and `holder` which guest of this host has a volume open. `run`
        is a directory for sockets."""
        self._backend = backend
        self._export = export
        self._holder = holder
        self._run = run
        self._open = open

    @contextlib.contextmanager
    def reading(self, asked: Read) -> Iterator[Reader]:
        source, changed = self._find(asked)
        with self._open(source, read_only=True, run=self._run) as disk:
            disk.only(changed)
            yield disk

    @contextlib.contextmanager
    def writing(self, asked: Write) -> Iterator[Writer]:
        self._unheld(asked.volume)
        with self._open(self._backend(asked.backend).source(asked.volume), read_only=False, run=self._run) as disk:
            yield disk

    def _find(self, asked: Read) -> tuple[DiskSource, Iterable[Extent] | None]:
        if asked.subject == "export":
            return self._export(asked.uuid), None
        if asked.backend is None:
            raise HostError(ErrorCode.PROTOCOL, f"a {asked.subject} is read from a backend: which?")
        backend = self._backend(asked.backend)
        if asked.subject == "volume":
            self._unheld(asked.uuid)
            return backend.source(asked.uuid), None
        if asked.subject != "snapshot" or asked.volume is None:
            raise HostError(ErrorCode.PROTOCOL, f"{asked.subject} {asked.uuid} of volume {asked.volume} is no disk")
        return backend.frozen(asked.volume, asked.uuid), self._changed(backend, asked)

    def _changed(self, backend: Backend, asked: Read) -> Iterable[Extent] | None:
        if asked.since is None or Can.CHANGED not in backend.can:
            return None
        assert asked.volume is not None
        try:
            return backend.changed(asked.volume, asked.uuid, since=asked.since)
        except HostError as bad:
            if bad.code is not ErrorCode.NOT_FOUND:
                raise
            return None  # the older snapshot is gone: whatever is there may have changed

    def _unheld(self, volume: str) -> None:
        # QEMU's locks say so too where it has any; of iSCSI and RBD only we know.
        if (holder := self._holder(volume)) is not None:
            raise HostError(ErrorCode.BAD_STATE, f"instance {holder} has volume {volume} open", hint="detach it first")


class NoDisks:
    """Of a host that was put together without volumes. streams.disks.Disks."""

    def reading(self, asked: Read) -> AbstractContextManager[Reader]:
        raise HostError(ErrorCode.STORAGE, "this host has no volumes")

    def writing(self, asked: Write) -> AbstractContextManager[Writer]:
        raise HostError(ErrorCode.STORAGE, "this host has no volumes")
