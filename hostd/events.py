"""The host's event feed: stored and numbered once, fanned out to every watcher.

Watchers read the journal until they are level with it, then live. Progress is live only: it is worth
nothing a second later.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

from hostd.drivers import Happened
from hostd.journal import Journal
from hostd.spec import Event, EventKind

T = TypeVar("T")

BACKLOG: Final = 4096
"""Live events a slow watcher may lag behind before it is sent back to the journal."""

BATCH: Final = 500


class Run(Protocol):
    """Runs blocking work off the event loop; a simulator runs it in place."""

    def __call__(self, function: Callable[..., T], *args: Any) -> Awaitable[T]: ...


class Feed:
    """Lives on the event loop."""

    def __init__(self, journal: Journal, *, run: Run, clock: Callable[[], float]) -> None:
        """`run` must keep the order of its calls, so that numbers are published in order."""
        self._journal = journal
        self._run = run
        self._clock = clock
        self._watchers: set[_Watcher] = set()

    async def record(self, happened: Happened) -> None:
        """Store and publish."""
        self.publish(await self._run(self._journal.append, happened.kind, happened.uuid, happened.detail))

    def publish(self, event: Event) -> None:
        """Hand a stored event to the watchers."""
        for watcher in self._watchers:
            watcher.push(event)

    def progress(self, uuid: str, detail: dict[str, Any]) -> None:
        """Hand {generation, step, percent} to whoever watches now."""
        self.publish(Event(seq=0, at=self._clock(), kind=EventKind.PROGRESS, uuid=uuid, detail=detail))

    async def follow(self, from_seq: int) -> AsyncGenerator[Event, None]:
        """Stored events above `from_seq`, then live ones, without end and without gaps in between."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            seen = from_seq
            while True:
                watcher.level()
                while stored := await self._run(self._journal.events, seen, BATCH):
                    for event in stored:
                        yield event
                        seen = event.seq
                async for event in watcher.live():
                    if event.seq and event.seq <= seen:
                        continue
                    yield event
                    seen = event.seq or seen
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    def __init__(self) -> None:
        self._pending: deque[Event] = deque()
        self._something = asyncio.Event()
        self._overrun = False

    def level(self) -> None:
        self._overrun = False

    def push(self, event: Event) -> None:
        if len(self._pending) >= BACKLOG:
            self._pending.clear()
            self._overrun = True
        self._pending.append(event)
        self._something.set()

    async def live(self) -> AsyncIterator[Event]:
        """Ends when events had to be dropped: the journal has them."""
        while not self._overrun:
            if not self._pending:
                self._something.clear()
                await self._something.wait()
                continue
            yield self._pending.popleft()
