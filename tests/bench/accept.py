"""How long a create takes to be accepted, with one and with eight writers, against a bare durable insert.

500 hosts, SQLite. The baseline is what no store can be faster than: BEGIN IMMEDIATE, one INSERT, COMMIT, by as many
processes, on the same disk.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import cloud
from core.compute.instances import create
from core.compute.instances.create import CreateSpec
from core.config import Config
from core.hosts.hosts import Host
from core.identity import quotas
from tests.bench.common import quantile, record
from tests.core.world import World

HOSTS = 500
EACH = 40
"""Creates of one writer."""

WRITERS = (1, 8)

forking = multiprocessing.get_context("fork")


def run() -> None:
    for writers in WRITERS:
        # A database of its own each time: the second would find the first one's instances.
        with tempfile.TemporaryDirectory(prefix="bench-") as home:
            config = prepare(Path(home))
            ours = timed(writers, _create, config)
        with tempfile.TemporaryDirectory(prefix="bench-") as home:
            path = Path(home) / "bare.db"
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT)")
            connection.close()
            bare = timed(writers, _insert, path)
        for name, share in (("p50", 0.50), ("p99", 0.99)):
            record(
                f"accept_{name}_{writers}_writers",
                quantile(ours, share) * 1000,
                "ms",
                quantile(bare, share) * 1000,
                len(ours),
            )


def prepare(home: Path) -> Config:
    """A cloud with HOSTS hosts that are up, an image, and no quota."""
    config = Config(home=home, database_url=f"sqlite:///{home / 'skydeck.db'}", network_cidr="10.0.0.0/16")
    store = cloud.open_store(config)
    world = World(config, store)
    world.image()
    with store.write() as session:
        for number in range(HOSTS):
            host = Host(
                id=store.clock.uuid(), name=f"host-{number:03}", address=f"10.9.{number // 250}.{number % 250}",
                state="up", state_reason="", vcpus=64, ram_mb=262_144, disk_gb=4000, created_at=store.clock.now(),
            )  # fmt: skip
            host.refresh_caps()
            session.add(host)
        limits = {"instances": -1, "cores": -1, "ram": -1, "ports": -1}
        quotas.update(session, world.admin, world.admin.project_id, "admin", limits)
    world.create(name="first")  # makes the network
    store.checkpoint()
    store.close()
    return config


def timed(writers: int, work: Callable[..., None], argument: Any) -> list[float]:
    """Seconds of every single piece of work, by `writers` processes that begin together."""
    start = forking.Barrier(writers)
    results: multiprocessing.Queue[list[float]] = forking.Queue()
    processes = [forking.Process(target=work, args=(argument, start, results)) for _ in range(writers)]
    for process in processes:
        process.start()
    took = [second for _ in processes for second in results.get(timeout=60)]
    for process in processes:
        process.join()
    return took


def _measure(once: Callable[[int], Any], start: Any, results: multiprocessing.Queue[list[float]]) -> None:
    once(-1)  # what is only ever done once in a process is not what is measured
    start.wait()
    took = []
    for number in range(EACH):
        began = time.perf_counter()
        once(number)
        took.append(time.perf_counter() - began)
    results.put(took)


def _create(config: Config, start: Any, results: multiprocessing.Queue[list[float]]) -> None:
    store = cloud.open_store(config)
    ctx = World(config, store).admin

    def once(number: int) -> None:
        create.create(store, config, ctx, CreateSpec(name=f"web-{number}", flavor="m1.tiny", image="tiny"))

    _measure(once, start, results)
    store.close()


def _insert(path: Path, start: Any, results: multiprocessing.Queue[list[float]]) -> None:
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=0")

    def once(number: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO thing (name) VALUES (?)", (f"web-{number}",))
        connection.execute("COMMIT")

    _measure(once, start, results)
    connection.close()
