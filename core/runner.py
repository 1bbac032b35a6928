"""The store, for async code: every transaction runs in a thread, so that no query holds the event loop.

Writes share one thread: they would queue on the database's one writer anyway, and this way they queue without
holding threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlmodel import Session

from core.store import Store

T = TypeVar("T")


class Runner:
    """Runs synchronous verbs against a store from async code."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(3, thread_name_prefix="store-read")

    async def write(self, verb: Callable[[Session], T]) -> T:
        """`verb` in a write transaction of its own."""

        def run() -> T:
            with self.store.write() as session:
                return verb(session)

        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    async def read(self, query: Callable[[Session], T]) -> T:
        """`query` in a read snapshot of its own."""

        def run() -> T:
            with self.store.read() as session:
                return query(session)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    def close(self) -> None:
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)
