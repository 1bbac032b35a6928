"""The daemon's socket: frames in, calls made, replies out as they finish.

Root alone may connect. Every connection says hello first; `receive`, `console`, `connect`, `read` and `write` turn it
into a byte stream for a while, and none starts while other calls of that connection are unanswered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Coroutine
from pathlib import Path
from typing import Any, Final

from hostd import connecting
from hostd.connection import Connection
from hostd.console import Consoles
from hostd.receive import Receiver
from hostd.service import HostService, Session
from hostd.spec import (
    CALLS,
    Empty,
    ErrorCode,
    HostError,
    Pushed,
    Reply,
    Request,
    Watch,
    decode,
    dump,
    encode,
    load,
)
from hostd.streams import Streams

STREAMS: Final = frozenset({"receive", "console", "connect", "read", "write"})

ACCEPT_AGAIN: Final = 0.5
"""Seconds to hold off when the kernel would not give us a connection."""

log = logging.getLogger(__name__)


class Server:
    """Serves one HostService on one UNIX socket."""

    def __init__(self, service: HostService) -> None:
        self._service = service
        self._receiver = Receiver(service.images)
        self._consoles = Consoles(service.console)
        self._streams = Streams(service.disks)
        self._clients: set[asyncio.Task[None]] = set()

    async def serve(self, listening: socket.socket) -> None:
        """Accept connections for ever; cancel to stop."""
        listening.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    sock, _ = await loop.sock_accept(listening)
                except OSError:
                    log.exception("a connection was not accepted")  # out of file descriptors: some will come free
                    await asyncio.sleep(ACCEPT_AGAIN)
                    continue
                task = loop.create_task(self._client(Connection(sock)))
                self._clients.add(task)
                task.add_done_callback(self._clients.discard)
        finally:
            self._consoles.close()
            for task in self._clients:
                task.cancel()

    async def _client(self, connection: Connection) -> None:
        client = _Client(self._service, self._receiver, self._consoles, self._streams, connection)
        try:
            await client.run()
        except OSError:
            pass  # gone
        except Exception:
            log.exception("a connection broke")
        finally:
            connection.close()


class _Client:
    """One connection, from hello to its end."""

    def __init__(
        self,
        service: HostService,
        receiver: Receiver,
        consoles: Consoles,
        streams: Streams,
        connection: Connection,
    ) -> None:
        self._service = service
        self._receiver = receiver
        self._consoles = consoles
        self._streams = streams
        self._connection = connection
        self._session: Session | None = None
        self._pending: set[asyncio.Task[None]] = set()
        self._watches: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        try:
            while (frame := await self._connection.read()) is not None:
                request = load(Request, decode(frame))
                if not await self._request(request):
                    return
            # The client may have closed its direction only: calls are still answered, a watch ends.
            for task in self._watches:
                task.cancel()
            await asyncio.gather(*self._pending, return_exceptions=True)
        except HostError as bad:
            # Not a request: which one to answer is unknown, and so is what else would be misread.
            await self._connection.send(Reply(id=0, error=bad.error))
        finally:
            for task in self._pending | self._watches:
                task.cancel()

    async def _request(self, request: Request) -> bool:
        """Start or answer one request; whether more may follow."""
        try:
            body = self._admit(request)
        except HostError as bad:
            await self._connection.send(Reply(id=request.id, error=bad.error))
            return True
        if request.call == "receive":
            return await self._receiver.receive(self._connection, request.id, body)
        if request.call == "read":
            return await self._streams.read(self._connection, request.id, body)
        if request.call == "write":
            return await self._streams.write(self._connection, request.id, body)
        if request.call == "hello":
            await self._answer(request, self._hello(body))
        elif request.call == "console":
            await self._answer(request, self._consoles.attach(self._connection, request.id, body))
        elif request.call == "connect":
            await self._answer(request, connecting.carry(self._connection, request.id, body, self._service.dial))
            return False
        elif request.call == "watch":
            self._start(self._watches, self._watch(request, body))
        else:
            assert self._session is not None
            work = self._service.call(self._session, request.call, body)
            self._start(self._pending, self._answer(request, work))
        return True

    def _start(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _admit(self, request: Request) -> Any:
        """The typed body of a request that may be made now. Raises HostError."""
        known = CALLS.get(request.call)
        if known is None:
            raise HostError(ErrorCode.PROTOCOL, f"unknown call {request.call}")
        body: Any = load(known[0], request.body)
        if request.call == "hello":
            return body
        if self._session is None:
            raise HostError(ErrorCode.PROTOCOL, f"{request.call} before hello")
        if request.call in STREAMS:
            self._service.check(self._session, request.call)
            if self._pending:
                raise HostError(ErrorCode.PROTOCOL, f"{request.call} while other calls are unanswered")
        return body

    async def _hello(self, body: Any) -> Any:
        self._session, reply = await self._service.hello(body)
        return reply

    async def _answer(self, request: Request, work: Awaitable[Any]) -> None:
        """Send what `work` returns, or the error it raises; None means that it has answered itself."""
        try:
            answer = await work
            reply = b"" if answer is None else encode(Reply(id=request.id, ok=dump(answer)))
        except HostError as bad:
            reply = encode(Reply(id=request.id, error=bad.error))
        except Exception as bad:
            log.exception("%s", request.call)
            error = HostError(ErrorCode.INTERNAL, repr(bad), hint="see hostd's log on the host").error
            reply = encode(Reply(id=request.id, error=error))
        with contextlib.suppress(OSError):  # gone: its reader sees that too
            await self._connection.write(reply)

    async def _watch(self, request: Request, body: Watch) -> None:
        with contextlib.suppress(OSError):
            await self._connection.send(Reply(id=request.id, ok=dump(Empty())))
            async with contextlib.aclosing(self._service.watch(body)) as events:
                async for event in events:
                    await self._connection.send(Pushed(event=event))


def listen(path: Path) -> socket.socket:
    """A listening UNIX socket at `path`, for root alone; one left by a dead process is replaced."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    os.chmod(path, 0o660)
    sock.listen(128)
    return sock
