"""A page of 100 out of 50,000 instances, first and in the middle, against the same SELECT through plain sqlite3."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlalchemy.dialects import sqlite

from core import listing, lists
from core.compute.instances.table import Instance
from core.store import Store
from tests.bench.accept import prepare
from tests.bench.common import quantile, record
from tests.core.world import World

INSTANCES = 50_000
PAGE = 100
TIMES = 50


def run() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        config = prepare(Path(home))
        store = Store(config.database_url)
        world = World(config, store)
        fill(world)
        with store.read() as session:
            keys = listing.keys(session, world.admin, lists.INSTANCES)
        for name, marker in (("list_page", None), ("list_page_middle", keys[len(keys) // 2])):

            def ours(marker: str | None = marker) -> None:
                with store.read() as session:
                    listing.page(session, world.admin, lists.INSTANCES, limit=PAGE, marker=marker)

            record(name, median(ours), "ms", plain(store, world, marker), TIMES)
        with store.read() as session:
            record(
                "list_count", median(lambda: listing.count(session, world.admin, lists.INSTANCES)), "ms", None, TIMES
            )
        store.close()


def fill(world: World) -> None:
    """INSTANCES rows spread over the hosts."""
    template = world.live()[0].model_dump()
    hosts = [host.id for host in world.rows(lists.Host)]
    rows = [
        template | {
            "id": world.store.clock.uuid(), "name": f"vm-{number * 7919 % INSTANCES:05}",
            "host_id": hosts[number % len(hosts)], "vm_state": "active", "task_state": None,
            "created_at": number, "launched_at": number,
        }
        for number in range(INSTANCES)
    ]  # fmt: skip
    with world.store.write() as session:
        session.execute(insert(Instance), rows)
    world.store.checkpoint()


def plain(store: Store, world: World, marker: str | None) -> float:
    """The listing's own SELECT, written out, by the driver alone."""
    statements: list[tuple[str, Any]] = []
    with store.read() as session:
        execute = session.execute

        def note(query: Any, *args: Any, **kwargs: Any) -> Any:
            compiled = query.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
            values = [compiled.params[name] for name in compiled.positiontup or ()]
            statements.append((str(compiled), values))
            return execute(query, *args, **kwargs)

        session.execute = note  # type: ignore[method-assign]
        listing.page(session, world.admin, lists.INSTANCES, limit=PAGE, marker=marker)
    statement, values = statements[0 if marker is None else 1]
    assert store.path is not None
    connection = sqlite3.connect(store.path)
    took = median(lambda: connection.execute(statement, values).fetchall())
    connection.close()
    return took


def median(work: Callable[[], Any]) -> float:
    """Milliseconds of one piece of work."""
    work()
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return quantile(took, 0.5) * 1000
