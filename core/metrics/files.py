"""The controller's ring files: a day of ten-second rates for each guest and host, HOME/metrics/<ab>/<id>.ring.

A day is 340 KB an object. Beyond `DAYS_AT_MOST` objects new ones get an hour instead (14 KB), so that the disk a large
cloud needs stays bounded: 1 GiB for those, and 14 MB for every thousand more.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from core.config import Config
from core.metrics.rates import Rate
from hostd.spec.rings import Entry, Rings, Shape, read

STEP: Final = 10
"""Seconds between two records."""

DAY: Final = 24 * 3600 // STEP
HOUR: Final = 3600 // STEP
"""Slots."""

SHAPE: Final = Shape(kind=10, payload="e?ffffff", step=STEP)
"""cpu, memory_guest, memory_used, memory_max, disk_read or disk_used, disk_write or disk_total, net_rx, net_tx."""

HOST_SHAPE: Final = Shape(kind=11, payload="e?ffffff", step=STEP)

DAYS_AT_MOST: Final = (1 << 30) // SHAPE.bytes_of(DAY)

_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def directory(config: Config) -> Path:
    return config.home / "metrics"


def path_of(config: Config, id: str) -> str | None:
    """Where an object's ring is, there or not; None for what cannot be the id of one."""
    return f"{config.home}/metrics/{id[:2]}/{id}.ring" if _ID.fullmatch(id) else None


def ids(config: Config) -> Iterator[str]:
    """Of all objects that have a ring."""
    for path in directory(config).glob("??/*.ring"):
        if not path.name.startswith("."):
            yield path.name.removesuffix(".ring")


def recent(config: Config, id: str, *, since: int, until: int) -> tuple[bool, list[Entry]]:
    """(whether it is a host, what was kept between the two moments, oldest first): entries for `rate`, of which the
    first two values are moment and cpu. Empty for an object without a ring."""
    path = path_of(config, id)
    if path is None:
        return False, []
    shape, entries = read(path, SHAPE, HOST_SHAPE, since=since, until=until)
    return shape is HOST_SHAPE, entries


def rate(entry: Entry, *, host: bool) -> Rate:
    """An entry as what it was made of."""
    at, cpu, memory_guest, memory_used, memory_max, first, second, net_rx, net_tx = entry
    return Rate(
        at=at,
        cpu=cpu,
        memory_guest=memory_guest,
        memory_used=memory_used,
        memory_max=memory_max,
        disk_read=0.0 if host else first,
        disk_write=0.0 if host else second,
        disk_used=first if host else 0.0,
        disk_total=second if host else 0.0,
        net_rx=net_rx,
        net_tx=net_tx,
    )


class Writer:
    """The engine's hand on the files. Not thread-safe."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._guests = Rings(SHAPE)
        self._hosts = Rings(HOST_SHAPE)
        self.count = sum(1 for _ in ids(config))
        """Rings there are."""

    def write(self, id: str, rate: Rate, *, host: bool = False) -> None:
        """Keep a rate in its object's ring. Raises OSError."""
        path = path_of(self._config, id)
        if path is None:
            return
        common = (rate.cpu, rate.memory_guest, rate.memory_used, rate.memory_max)
        disk = (rate.disk_used, rate.disk_total) if host else (rate.disk_read, rate.disk_write)
        rings = self._hosts if host else self._guests
        made = rings.write(path, rate.at, (*common, *disk, rate.net_rx, rate.net_tx), slots=self._slots)
        self.count += made

    @property
    def _slots(self) -> int:
        return DAY if self.count < DAYS_AT_MOST else HOUR

    def forget(self, id: str) -> None:
        """The object is gone. Raises OSError."""
        path = path_of(self._config, id)
        if path is not None and os.path.exists(path):
            self._guests.forget(path)
            self._hosts.forget(path)
            self.count -= 1
