"""A host end that lives in the test's own event loop: it answers every call, and the test decides when."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hostd.spec import (
    HEADER,
    PROTOCOL,
    Accel,
    Applied,
    Apply,
    Empty,
    ErrorCode,
    Event,
    EventKind,
    HelloReply,
    HostError,
    Pushed,
    Received,
    Receiving,
    Reply,
    Request,
    bytes_frame,
    decode,
    dump,
    encode,
    frame,
    load,
)

HOST = "8f0f4f7e-0000-4000-8000-00000000000a"
CLOUD = "c10d0000-0000-4000-8000-00000000000c"


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(HEADER), "big"))


class StubHostd:
    """Answers hello, ping, watch, ack and apply; `receive` and `console` as hostd does. Everything is recorded."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.events: list[Event] = []
        self.journal = "journal-1"
        self.host = HOST
        self.refuse: dict[str, HostError] = {}
        """Calls that are refused, by name."""
        self.hold = asyncio.Event()
        """An apply is answered only once this is set; it is set unless a test clears it."""
        self.hold.set()
        self.applied: dict[int, int] = {}
        """How often each generation really happened."""
        self.seen = asyncio.Event()
        """Set at every call; tests clear it to await the next one."""
        self.images: dict[str, bytearray] = {}
        self.stop_after: int | None = None
        """Cut a `receive` after about so many bytes, once."""
        self.disk_full_after: int | None = None
        """Refuse a `receive` after about so many bytes, in mid-stream as hostd does."""
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._watchers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def push(self, kind: EventKind, uuid: str | None = None, *, stored: bool = True) -> None:
        """One event, to every watcher."""
        seq = len(self.events) + 1 if stored else 0
        event = Event(seq=seq, at=0.0, kind=kind, uuid=uuid)
        if stored:
            self.events.append(event)
        for writer in self._watchers:
            writer.write(encode(Pushed(event=event)))

    def raw_to_watchers(self, data: bytes) -> None:
        for writer in self._watchers:
            writer.write(data)

    def named(self, call: str) -> list[dict[str, Any]]:
        return [body for name, body in self.calls if name == call]

    @contextlib.asynccontextmanager
    async def listening(self, path: Path):  # type: ignore[no-untyped-def]
        server = await asyncio.start_unix_server(self._connected, str(path), limit=4 * 1024 * 1024)
        try:
            yield self
        finally:
            server.close()
            for writer in list(self._writers):
                writer.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()
            path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                request = load(Request, decode(await read_frame(reader)))
                self.calls.append((request.call, request.body))
                self.seen.set()
                if request.call in ("receive", "console"):
                    await getattr(self, request.call)(request, reader, writer)
                else:
                    answering = asyncio.create_task(self._answer(request, writer))
                    self._tasks.add(answering)
                    answering.add_done_callback(self._tasks.discard)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._watchers.discard(writer)
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        handlers: dict[str, Callable[[Request], Awaitable[Any]]] = {"hello": self._hello, "apply": self._apply}
        try:
            if request.call in self.refuse:
                raise self.refuse[request.call]
            answer = await handlers[request.call](request) if request.call in handlers else Empty()
        except HostError as error:
            writer.write(encode(Reply(id=request.id, error=error.error)))
            return
        writer.write(encode(Reply(id=request.id, ok=dump(answer))))
        if request.call == "watch":
            for event in self.events[request.body["from_seq"] :]:
                writer.write(encode(Pushed(event=event)))
            self._watchers.add(writer)

    async def _hello(self, request: Request) -> HelloReply:
        return HelloReply(
            protocol=PROTOCOL,
            host=self.host,
            hostname="stub",
            boot_id="boot",
            journal_id=self.journal,
            term=request.body["term"],
            version="0",
            accel=Accel(mode="tcg", reason="stub"),
            versions={},
            last_seq=len(self.events),
        )

    async def _apply(self, request: Request) -> Applied:
        apply = load(Apply, request.body)
        if apply.generation not in self.applied:
            self.applied[apply.generation] = 1
        await self.hold.wait()
        return Applied(uuid=apply.uuid, generation=apply.generation, steps=("made",))

    async def receive(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        digest, size = request.body["digest"], request.body["size"]
        await self.hold.wait()
        kept = self.images.setdefault(digest, bytearray())
        writer.write(encode(Reply(id=request.id, ok=dump(Receiving(offset=len(kept))))))
        while data := await read_frame(reader):
            kept += data
            if self.disk_full_after is not None and len(kept) >= self.disk_full_after:
                full = HostError(ErrorCode.DISK_FULL, "no room")
                writer.write(encode(Reply(id=request.id, error=full.error)))
                while await reader.read(1 << 20):
                    pass
                raise ConnectionError("refused")
            if self.stop_after is not None and len(kept) >= self.stop_after:
                self.stop_after = None
                raise ConnectionError("cut by the test")
        good = len(kept) == size and hashlib.sha256(kept).hexdigest() == digest
        writer.write(encode(Reply(id=request.id, ok=dump(Received(digest=digest, size=len(kept), verified=good)))))

    async def console(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Greets, then answers every frame in upper case, until an empty one comes."""
        writer.write(encode(Reply(id=request.id, ok={})))
        writer.write(bytes_frame(b"login: "))
        while data := await read_frame(reader):
            writer.write(frame(data[:1] + data[1:].upper()))
        writer.write(frame(b""))
