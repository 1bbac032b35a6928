"""The web server behind 169.254.169.254: one thread for all listeners of this host, whatever namespaces they are in.

A socket stays in the namespace it was made in, so one thread serves them all. What a guest sends is bounded
in size and time, and so is what it may hold open: a slow one, or a thousand connections of one, cost the
others nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from hostd.metadata import http
from hostd.metadata.http import Asked

HEAD_BYTES: Final = 8192
"""Of a request; what follows its head is not read."""

PATIENCE: Final = 5.0
"""Seconds for a request to come, for its answer to be found, and for the answer to be taken; each."""

PER_CALLER: Final = 16
"""Open connections of one address of one listener."""

ALTOGETHER: Final = 512
"""Open connections of this host."""

ANSWERING: Final = 4
"""Threads that look answers up."""

Respond = Callable[[str, str, Asked], bytes]
"""The whole answer, for the listener's name, the caller's address and what it asks. May block."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class MetadataServer:
    """Answers on the sockets it is given. Thread-safe."""

    def __init__(self, respond: Respond, *, patience: float = PATIENCE) -> None:
        self._respond = respond
        self._patience = patience
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._answering = ThreadPoolExecutor(ANSWERING, thread_name_prefix="metadata-answer")
        self._listeners: dict[str, list[asyncio.Server]] = {}
        self._open: Counter[tuple[str, str]] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="metadata", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close every listener and connection and end the thread. Fine when not started."""
        if self._loop is None or self._thread is None:
            return
        self._run(self._close_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None
        # An answer may wait for a daemon that is itself stopping: not for that one.
        self._answering.shutdown(wait=False, cancel_futures=True)

    def listen(self, name: str, sockets: Iterable[socket.socket]) -> None:
        """Answer on these bound sockets, in place of those the name stood for."""
        self._run(self._listen(name, list(sockets)))

    def close(self, name: str) -> None:
        """Answer there no more. An unknown name is fine."""
        self._run(self._close(name))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None, "start() comes first"
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # ------------------------------------------------------------------ on the thread

    async def _listen(self, name: str, sockets: list[socket.socket]) -> None:
        await self._close(name)

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self._serve(name, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._listeners[name] = [await asyncio.start_server(accepted, sock=one, limit=HEAD_BYTES) for one in sockets]

    async def _close(self, name: str) -> None:
        for listener in self._listeners.pop(name, ()):
            listener.close()

    async def _close_all(self) -> None:
        for name in list(self._listeners):
            await self._close(name)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("peername")[0].partition("%")[0]
        caller = (name, address)
        self._open[caller] += 1
        try:
            if self._open[caller] <= PER_CALLER and self._open.total() <= ALTOGETHER:
                # Without a buffer of its own, drain() means that the guest has taken all of it.
                writer.transport.set_write_buffer_limits(high=0)
                writer.write(await self._answer(name, address, reader))
                async with asyncio.timeout(self._patience):
                    await writer.drain()
                writer.close()
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            pass  # its own loss
        except Exception:
            log.exception("metadata for %s in %s", address, name)
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]
            if not writer.is_closing():
                writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, name: str, address: str, reader: asyncio.StreamReader) -> bytes:
        """Raises TimeoutError when no request came."""
        try:
            async with asyncio.timeout(self._patience):
                head = await reader.readuntil(b"\r\n\r\n")
            asked = http.parse(head)
        except asyncio.LimitOverrunError:
            return http.answer(431)
        except ValueError:
            return http.answer(400)
        answering = asyncio.get_running_loop().run_in_executor(self._answering, self._respond, name, address, asked)
        try:
            async with asyncio.timeout(self._patience):
                return await answering
        except TimeoutError:
            return http.answer(503)
