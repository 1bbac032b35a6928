"""The host's ring files: ten minutes of samples, one a second, for each guest and for the host.

They are in the run directory, which is memory on most hosts: a killed hostd finds them again, a rebooted host has no
guests that they could be about.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hostd.spec.metrics import GuestSample, HostSample, guest_sample, guest_values, host_sample, host_values
from hostd.spec.rings import Rings, Shape, read

SLOTS: Final = 600
GUEST: Final = Shape(kind=1, payload="qqqq?qqqqqqqq", step=1)
HOST: Final = Shape(kind=2, payload="qqqqqqdqq", step=1)

KEPT: Final = 24 * 3600
"""Seconds that the ring of a guest which is gone stays."""

_SUFFIX: Final = ".ring"
_HOST: Final = "host"


class Kept:
    """One host's rings, in one directory. Written by one thread, read by any."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._guests = Rings(GUEST)
        self._host = Rings(HOST)

    def add(self, guests: tuple[GuestSample, ...], host: HostSample | None) -> None:
        """Raises OSError."""
        for sample in guests:
            self._guests.write(self._path(sample.uuid), sample.at_us, guest_values(sample)[1:], slots=SLOTS)
        if host is not None:
            self._host.write(self._path(_HOST), host.at_us, host_values(host)[1:], slots=SLOTS)

    def guests(self) -> Iterator[str]:
        """uuids of those that have a ring. Raises OSError."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return
        for name in names:
            uuid = name.removesuffix(_SUFFIX)
            if uuid not in (name, _HOST) and not name.startswith("."):
                yield uuid

    def guest(self, uuid: str, *, since: int, until: int) -> list[GuestSample]:
        """Its samples after the one moment and up to the other, in microseconds. Raises OSError."""
        _, entries = read(self._path(uuid), GUEST, since=since, until=until)
        return [guest_sample(uuid, entry) for entry in entries]

    def host(self, *, since: int, until: int) -> list[HostSample]:
        _, entries = read(self._path(_HOST), HOST, since=since, until=until)
        return [host_sample(entry) for entry in entries]

    def sweep(self, now: float) -> None:
        """Delete the rings of guests that were last seen more than a day ago. Raises OSError."""
        for uuid in list(self.guests()):
            path = self._path(uuid)
            if now - os.stat(path).st_mtime > KEPT:
                self._guests.forget(path)

    def _path(self, name: str) -> str:
        return f"{self._directory}/{name}{_SUFFIX}"
