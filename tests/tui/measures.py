"""Metrics of the seeded cloud: rings as the engine writes them, the same every time.

By hand: `python -m tests.tui.measures HOME` goes on writing them for what runs in that home, until it is interrupted.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from sqlmodel import col

from core import cloud
from core.compute.instances.table import Instance
from core.config import Config
from core.hosts.hosts import Host
from core.metrics.files import STEP, Writer
from core.metrics.rates import SECOND, Rate
from core.sql import select
from core.store import Store
from tests.tui import seed

MIB = 1 << 20


def rate(which: int, at_s: int, *, host: bool = False) -> Rate:
    """What object number `which` did at a moment: waves of its own, with a quiet minute in each ten."""
    phase = at_s / (40 + 7 * (which % 9)) + which
    busy = 0.0 if at_s % 600 < 60 and not host else 1.0
    cpu = busy * (25 + 5 * (which % 10)) * (1 + math.sin(phase)) / 1.0
    return Rate(
        at=at_s * SECOND,
        cpu=min(100.0, cpu),
        memory_used=(20000 if host else 600) * MIB * (1 + 0.1 * math.sin(phase / 3)),
        memory_max=(32768 if host else 2048) * MIB,
        memory_guest=which % 2 == 0,
        disk_read=0.0 if host else busy * 3 * MIB * (1 + math.cos(phase)),
        disk_write=0.0 if host else busy * 9 * MIB * (1 + math.sin(phase * 2)),
        net_rx=busy * 120 * 1024 * (1 + math.sin(phase * 3)),
        net_tx=busy * 40 * 1024 * (1 + math.cos(phase * 2)),
        disk_used=float(200 << 30) if host else 0.0,
        disk_total=float(500 << 30) if host else 0.0,
    )


def subjects(store: Store) -> tuple[list[str], list[str]]:
    """Ids of the guests that run, and of the hosts that are up."""
    with store.read() as session:
        guests = session.execute(
            select(Instance.id).where(col(Instance.vm_state) == "active", col(Instance.deleted_at) == 0).limit(300)
        ).scalars()
        hosts = session.execute(select(Host.id).where(col(Host.state) == "up").order_by(col(Host.name))).scalars()
        return sorted(guests), list(hosts)


def write(writer: Writer, guests: Iterable[str], hosts: Iterable[str], at_s: int) -> None:
    """One step of all of them."""
    for which, id in enumerate(guests):
        writer.write(id, rate(which, at_s))
    for which, id in enumerate(hosts):
        writer.write(id, rate(which, at_s, host=True), host=True)


def fill(config: Config, store: Store, *, until_s: int = seed.NOW, span_s: int = 3600) -> None:
    """The last hour of what runs, with ten minutes missing in it: half an hour ago no engine ran."""
    guests, hosts = subjects(store)
    writer = Writer(config)
    first = until_s - span_s
    for at_s in range(first - first % STEP, until_s + 1, STEP):
        if not 1500 < until_s - at_s < 2100:
            write(writer, guests, hosts, at_s)


def main() -> None:
    """Measurements that go on, for looking at by hand."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m tests.tui.measures HOME")
    config = seed.config(Path(sys.argv[1]))
    store = cloud.open_store(config)
    now = int(time.time())
    fill(config, store, until_s=now)
    while True:
        writer = Writer(config)
        write(writer, *subjects(store), int(time.time()) // STEP * STEP)
        time.sleep(STEP)


if __name__ == "__main__":
    main()
