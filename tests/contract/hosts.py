"""The hosts that the contract is checked against: a fake, a daemon on its socket, and what else comes.

A host is entered with `async with HOSTS[name](directory) as host`; the tests know it as `Host`. To put real
drivers under the same suite, add a class with the same methods here and to HOSTS.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from hostd.fake import FakeHost
from hostd.journal import as_host_error
from hostd.spec import (
    CALLS,
    HEADER,
    PROTOCOL,
    Console,
    ConsoleNote,
    Event,
    Hello,
    Pushed,
    Receive,
    Received,
    Receiving,
    Reply,
    Request,
    bytes_frame,
    console_frame,
    decode,
    dump,
    encode,
    frame,
    load,
)

CLOUD = "cloud-1"


class ConsoleStream(Protocol):
    async def read(self) -> bytes: ...

    async def write(self, data: bytes) -> None: ...

    async def close(self) -> None: ...


class Peer(Protocol):
    """One connection."""

    async def call(self, name: str, body: Any) -> Any: ...

    def events(self) -> AsyncIterator[Event]: ...

    async def send_image(self, body: Receive, data: bytes) -> Received: ...

    async def console(self, body: Console) -> ConsoleStream: ...

    def close(self) -> None: ...


class Host(Protocol):
    async def connect(self) -> Peer: ...

    async def restart(self) -> None:
        """Kill the daemon as by kill -9, and start it again."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


async def greeted(host: Host, *, term: int = 1, cloud: str = CLOUD) -> Peer:
    """A connection that has said hello."""
    peer = await host.connect()
    await peer.call("hello", Hello(protocol=PROTOCOL, cloud=cloud, term=term, host=None))
    return peer


class InMemory:
    """FakeHost under the contract."""

    def __init__(self, directory: Path) -> None:
        self._fake = FakeHost(root=directory)

    async def connect(self) -> Peer:
        return self._fake.connect()

    async def restart(self) -> None:
        self._fake.restart()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._fake.cut()
        self._fake.guests.stop()


class Daemon:
    """A `hostd serve` process over memory drivers."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "s"
        self.run = directory / "r"
        self._process: asyncio.subprocess.Process | None = None
        self._peers: list[SocketPeer] = []

    async def connect(self) -> SocketPeer:
        peer = await SocketPeer.to(self.run / "hostd.sock")
        self._peers.append(peer)
        return peer

    async def restart(self) -> None:
        await self.kill()
        await self.start()

    async def start(self, *, crash: str = "") -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hostd", "serve", "--drivers", "memory"),
            *("--state", str(self.state), "--run", str(self.run)),
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"SKYDECK_CRASH": crash},
        )
        assert self._process.stderr is not None
        while b"serving on" not in (line := await self._process.stderr.readline()):
            assert line, "hostd ended before it served"
        self._reading = asyncio.create_task(self._process.stderr.read())

    async def kill(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self.died()

    async def died(self) -> str:
        """Wait for the daemon's end; its log."""
        assert self._process is not None
        await self._process.wait()
        for peer in self._peers:
            peer.close()
        return (await self._reading).decode()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()


class SocketPeer:
    """A client of the daemon's socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None

    @classmethod
    async def to(cls, path: Path) -> Self:
        return cls(*await asyncio.open_unix_connection(str(path)))

    async def call(self, name: str, body: Any) -> Any:
        plain = body if isinstance(body, dict) else dump(body)
        if self._pump is None:
            self._pump = asyncio.create_task(self._read_replies())
        request = next(self._ids)
        future = self._waiting[request] = asyncio.get_running_loop().create_future()
        self.writer.write(encode(Request(id=request, call=name, body=plain)))
        return load(CALLS[name][1], _ok(await future))

    async def events(self) -> AsyncIterator[Event]:
        while (event := await self._events.get()) is not None:
            yield event

    async def receive(self, body: Receive) -> Receiving:
        """Begin a stream; the raw frames are the caller's."""
        await self._alone()
        self.writer.write(encode(Request(id=0, call="receive", body=dump(body))))
        return load(Receiving, _ok(await self.reply()))

    async def reply(self) -> Reply:
        """The next frame, as the reply it must be."""
        return load(Reply, decode(await self.frame()))

    async def frame(self) -> bytes:
        return await self.reader.readexactly(int.from_bytes(await self.reader.readexactly(HEADER), "big"))

    async def send_image(self, body: Receive, data: bytes) -> Received:
        receiving = await self.receive(body)
        for at in range(receiving.offset, len(data), 65536):
            self.writer.write(frame(data[at : at + 65536]))
        self.writer.write(frame(b""))
        return load(Received, _ok(await self.reply()))

    async def console(self, body: Console) -> ConsoleStream:
        await self._alone()
        self.writer.write(encode(Request(id=0, call="console", body=dump(body))))
        _ok(await self.reply())
        return _Stream(self)

    def close(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
        self.writer.close()
        self._break()

    async def _alone(self) -> None:
        """Stop reading replies: what comes now is a stream."""
        if self._pump is not None:
            self._pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pump
            self._pump = None

    async def _read_replies(self) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                plain = decode(await self.frame())
                if "event" in plain:
                    self._events.put_nowait(load(Pushed, plain).event)
                    continue
                reply = load(Reply, plain)
                self._waiting.pop(reply.id).set_result(reply)
        self._break()

    def _break(self) -> None:
        self._events.put_nowait(None)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionResetError("the connection to the host broke"))


class _Stream:
    def __init__(self, peer: SocketPeer) -> None:
        self._peer = peer

    async def read(self) -> bytes:
        while body := await self._peer.frame():
            said = console_frame(body, ConsoleNote)
            if isinstance(said, bytes):
                return said
        return b""

    async def write(self, data: bytes) -> None:
        self._peer.writer.write(bytes_frame(data))

    async def close(self) -> None:
        self._peer.writer.write(frame(b""))
        while await self.read():
            pass


def _ok(reply: Reply) -> Any:
    if reply.error is not None:
        raise as_host_error(reply.error)
    return reply.ok


HOSTS: dict[str, type[InMemory] | type[Daemon]] = {"fake": InMemory, "daemon": Daemon}
