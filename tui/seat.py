"""The app's hold on the cloud: store, configuration and who is asking; every read and write on its own thread.

Opening imports the whole of core, which costs as much as the rest of the start: it happens after the first frame.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from tui.readonly import WHY
from tui.settings import cloud_name

if TYPE_CHECKING:
    from core.config import Config, Places
    from core.consoles.client import Log
    from core.consoles.searching import Search
    from core.context import Context
    from core.metrics import Latest, Series
    from core.metrics.live import Live
    from core.network.tracing import Followed
    from core.store import Store

T = TypeVar("T")


class Seat:
    """One person at one cloud. `store`, `ctx` and `listings` exist once `open` has returned."""

    def __init__(
        self,
        *,
        config: Config | None = None,
        store: Store | None = None,
        project: str | None = None,
        read_only: bool = False,
    ) -> None:
        self.read_only = read_only
        """Whether nothing may be changed from here: hidden by tui.readonly, and refused by the store."""
        self._config = config
        self._store = store
        self._project = project
        self._ctx: Context | None = None
        self.listings: dict[str, Any] = {}
        self._live: tuple[str, Live] | None = None
        self.leaving = threading.Event()
        """Set when the app ends: what waits for the engine's work waits no longer."""
        # One thread each: reads stay in order, and a write that waits for its turn holds up no read.
        self._reads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read")
        self._writes = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write")
        # A search goes through everything: the list behind it is read meanwhile.
        self._searches = ThreadPoolExecutor(max_workers=1, thread_name_prefix="search")

    @property
    def ready(self) -> bool:
        return self._ctx is not None

    @property
    def project(self) -> str | None:
        """The project to work in when it is another than the configuration's."""
        return self._project

    def configured(self) -> Config:
        """The configuration, read when that was not done yet. Raises Invalid."""
        if self._config is None:
            from core import config

            self._config = config.load()
        return self._config

    @property
    def config(self) -> Config:
        assert self._config is not None
        return self._config

    def places(self) -> Places:
        """Where this person's settings and histories are: beside the data of a given configuration, else as set in
        the environment."""
        from core import config

        if self._config is None:
            return config.places()
        home = self._config.home
        return config.Places(home=home, file=home / "config.toml", state=home / "state")

    @property
    def store(self) -> Store:
        assert self._store is not None
        return self._store

    @property
    def ctx(self) -> Context:
        assert self._ctx is not None
        return self._ctx

    @property
    def cloud(self) -> str:
        """What the header calls this cloud."""
        return cloud_name(self.config.database_url)

    def now(self) -> int:
        """Microseconds, by the store's clock; before it is open, by this machine's."""
        return self.store.clock.now() if self._store else time.time_ns() // 1000

    async def open(self) -> None:
        """Import core, open the store, learn who asks. Raises SkydeckError. May be called again after a failure."""
        await self._in(self._reads, self._open)

    def _open(self) -> None:
        _import_core()
        from core import cloud, config, lists

        self._config = self._config or config.load()
        self._store = self._store or cloud.open_store(self._config)
        self._store.read_only = WHY if self.read_only else ""
        self.listings = dict(lists.LISTINGS)
        with self._store.read() as session:
            self._ctx = cloud.context(session, self._config, source="app", project=self._project)

    def only_look(self) -> None:
        """Change nothing from here on."""
        self.read_only = True
        self.store.read_only = WHY

    async def read(self, query: Callable[[Any], T]) -> T:
        """`query(session)` on the reading thread. Raises SkydeckError."""

        def reading() -> T:
            with self.store.read() as session:
                return query(session)

        return await self._in(self._reads, reading)

    async def search(self, query: Callable[[Any], T]) -> T:
        """`query(session)` on a thread of its own, beside what lists read. Raises SkydeckError."""

        def searching() -> T:
            with self.store.read() as session:
                return query(session)

        return await self._in(self._searches, searching)

    async def write(self, change: Callable[[Any], T]) -> T:
        """`change(session)` in one transaction on the writing thread. Raises SkydeckError."""

        def writing() -> T:
            with self.store.write() as session:
                return change(session)

        return await self._in(self._writes, writing)

    async def ticket(self, take: Callable[[Any], T]) -> T:
        """`take(session)` in a transaction that only asks leave to look, which read-only mode allows too."""

        def taking() -> T:
            with self.store.write(ticket=True) as session:
                return take(session)

        return await self._in(self._writes, taking)

    async def call(self, work: Callable[[], T]) -> T:
        """Anything else that may wait, on the writing thread."""
        return await self._in(self._writes, work)

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    def request(self) -> Context:
        """The context of one more request: its own request id, this project only."""
        from core.context import request_id

        return dataclasses.replace(self.ctx, request_id=request_id(), all_projects=False)

    def span(self, all_projects: bool) -> None:
        """Lists of this project, or of all. Raises Forbidden."""
        from core.identity.policy import authorize

        if all_projects:
            authorize(self.ctx, "all_projects")
        self._ctx = dataclasses.replace(self.ctx, all_projects=all_projects)

    async def enter(self, project: str) -> None:
        """Work in another project from now on. Raises NotFound, Forbidden."""

        def find(session: Any) -> Context:
            from core import cloud

            return cloud.context(session, self.config, source="app", project=project)

        self._ctx = await self.read(find)

    def engine(self) -> None:
        """See that an engine runs: start one in the background when none does. Raises SkydeckError."""
        from core import serve

        serve.ensure(self.config)

    async def attend(self) -> None:
        """Keep the engine from ending for want of work, as long as it and this task last. Raises Unavailable."""
        from core import door

        await door.attend(self.config)

    async def latest(self, ids: Iterable[str]) -> dict[str, Latest]:
        """What was measured last of these objects, by id; what nothing is known of is absent."""
        from core import metrics

        return await self._in(self._reads, lambda: metrics.latest(self.config, ids, now=self.now()))

    async def series(self, id: str, span_s: int) -> Series:
        """What was measured of an object in the last so many seconds, ten seconds a point, as kept here."""
        from core import metrics

        return await self._in(self._reads, lambda: metrics.series(self.config, id, span_s=span_s, now=self.now()))

    async def open_log(self, instance: str, lines: int) -> Log:
        """A guest's console log, its last lines first, to be read again and again. Raises SkydeckError."""
        from core import door

        ctx = self.request()
        ticket = await self.ticket(lambda session: door.ticket(session, ctx, purpose="console_log", instance=instance))
        return await door.log(self.config, ticket, lines)

    async def search_logs(self, text: str, *, deleted: bool = False) -> Search:
        """Lines of the console logs of all instances that are listed now. Raises SkydeckError."""
        from core import door

        ctx = dataclasses.replace(self.request(), all_projects=self.ctx.all_projects)
        ticket = await self.ticket(lambda session: door.search_ticket(session, ctx, text, deleted=deleted))
        return await door.search(self.config, ticket)

    async def metrics(self, id: str, span_s: int) -> Series:
        """What an instance or a host (by id) used in the last so many seconds, ten minutes at most, second by second.

        Meant to be asked again and again: the view of an object stays open until another's is asked for, or
        `close_metrics`. Raises SkydeckError.
        """
        from core import door
        from core.errors import SkydeckError

        if self._live is None or self._live[0] != id:
            await self.close_metrics()
            ctx = self.request()
            ticket = await self.ticket(lambda session: door.metrics_ticket(session, ctx, id))
            self._live = (id, await door.metrics(self.config, ticket))
        try:
            return await self._live[1].read(span_s)
        except SkydeckError:
            await self.close_metrics()
            raise

    async def close_metrics(self) -> None:
        """Nobody looks any more."""
        if self._live is not None:
            (_, live), self._live = self._live, None
            await live.close()

    async def trace(self, source: str, destination: str, protocol: str, port: int | None) -> Followed:
        """The way of a packet from a server or port (by id) to an address or name. Raises SkydeckError."""
        from core import door
        from core.network import tracing

        ctx = self.request()

        def start(session: Any) -> tuple[tracing.Path, str]:
            path = tracing.plan(session, ctx, source, destination, protocol=protocol, port=port)
            return path, door.trace_ticket(session, ctx, path)

        path, ticket = await self.ticket(start)
        return tracing.follow(path, await door.trace(self.config, ticket))

    def close(self) -> None:
        self.leaving.set()
        # A read is over in a moment, and the store may be closed only after it; a write may wait long for its turn.
        self._reads.shutdown(wait=True, cancel_futures=True)
        self._searches.shutdown(wait=True, cancel_futures=True)
        self._writes.shutdown(wait=False, cancel_futures=True)


def _import_core() -> None:
    """Modules are no garbage: to look for some while they load, and in them ever after, is a quarter of the start."""
    if "core.lists" in sys.modules:
        return
    gc.disable()
    try:
        import core.cloud
        import core.lists  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()
