"""Bulk bytes to and from one host: images on their way into its cache, and serial consoles.

They travel on a connection of their own, since on the calls' connection they would make every call wait. Sending is
done in threads by sendfile(2): file to socket without passing through Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random as _random
import select
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Final

from core.errors import Unknown
from core.hosts.ssh_master import ConnectionCut, SshMaster, SshStream
from core.hosts.transport import SshTarget
from hostd.spec import (
    CALLS,
    HEADER,
    MAX_FRAME,
    PROTOCOL,
    Console,
    ErrorCode,
    Hello,
    HelloReply,
    HostError,
    Receive,
    Received,
    Receiving,
    Reply,
    Request,
    decode,
    dump,
    encode,
    frame,
    load,
)

CHUNK: Final = 1024 * 1024
"""Bytes of a raw frame."""

TRIES: Final = 5
"""Attempts in a row that bring no byte forward before sending is given up."""

STALL: Final = 60.0
"""Seconds a host may take no byte, or not answer a call, before the connection counts as cut."""

_HASHING: Final = 100 * CHUNK
"""Bytes a second at which even a slow host hashes what it holds of an image before it answers."""

_PAUSE_FIRST: Final = 0.2
_PAUSE_MOST: Final = 5.0
_PROGRESS_EVERY: Final = 0.1
_THREADS: Final = 16

Progress = Callable[[int, int], None]
"""Called in the event loop with (bytes done, bytes in all), a few times a second."""


class BulkLink:
    """One host's bulk connection. It connects when first used, and again when it was cut."""

    def __init__(
        self,
        target: SshTarget | Path,
        *,
        cloud: str,
        term: int,
        host: str,
        tries: int = TRIES,
        random: Callable[[], float] = _random.random,
    ) -> None:
        """`target` is hostd's UNIX socket for the local host."""
        self._master = SshMaster(target) if isinstance(target, SshTarget) else None
        self._socket = target if isinstance(target, Path) else None
        self._hello = Hello(protocol=PROTOCOL, cloud=cloud, term=term, host=host, purpose="bulk")
        self._tries = tries
        self._random = random
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"bulk-{host[:8]}")

    @property
    def master_pid(self) -> int | None:
        """The process that carries the bytes; None for the local host and while not connected."""
        return self._master.pid if self._master else None

    async def close(self) -> None:
        """End the connection; what is being sent ends as cut."""
        loop = asyncio.get_running_loop()
        if self._master is not None:
            await loop.run_in_executor(self._threads, self._master.close)
        await asyncio.to_thread(self._threads.shutdown)

    async def send_image(self, path: Path, digest: str, *, progress: Progress | None = None) -> Received:
        """Carry the file at `path`, whose sha256 is `digest`, into the host's cache; it is verified there.

        Continues where an earlier attempt, perhaps of an earlier process, was cut. Returns at once what the host
        already holds. Raises HostError as the host raised it (DISK_FULL, DIGEST_MISMATCH), Unavailable where the keys
        do not fit, Unknown when TRIES attempts in a row brought nothing forward.
        """
        loop = asyncio.get_running_loop()
        told: Progress | None = None
        if progress is not None:
            wanted = progress

            def told(done: int, total: int) -> None:
                loop.call_soon_threadsafe(wanted, done, total)

        failures = 0
        furthest = -1
        while True:
            sending = _Sending(self._connect, path, digest, progress=told)
            try:
                return await self._in_thread(sending)
            except ConnectionCut as cut:
                failures = failures + 1 if sending.offset <= furthest else 1
                furthest = max(furthest, sending.offset)
                if failures >= self._tries:
                    raise Unknown(
                        f"image {digest[:12]} could not be carried to the host: {cut}",
                        hint=f"{max(furthest, 0)} bytes are there; the next attempt continues",
                    ) from cut
            await asyncio.sleep(min(_PAUSE_MOST, _PAUSE_FIRST * 2**failures) * (0.5 + self._random()))

    @contextlib.asynccontextmanager
    async def console(self, uuid: str, *, write: bool = True, history: int = 2000) -> AsyncIterator[ConsoleStream]:
        """A guest's serial console as raw bytes, its last `history` bytes first. Several may watch at once.

        Raises HostError (NOT_FOUND), Unavailable, Unknown when there is no connection.
        """
        opening = _Opening(self._connect, Console(uuid=uuid, write=write, history=history))
        try:
            stream = await self._in_thread(opening)
        except ConnectionCut as cut:
            raise Unknown(f"no connection for the console: {cut}", hint="try again") from cut
        stream.sock.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=stream.sock)
        try:
            yield ConsoleStream(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            await asyncio.get_running_loop().run_in_executor(self._threads, stream.close)

    async def _in_thread(self, work: _Sending | _Opening) -> Any:
        """Run a blocking piece of work; a cancelled caller cuts its connection and waits until it is done."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            work.abort()
            with contextlib.suppress(ConnectionCut, HostError):
                await running
            raise

    def _connect(self) -> _Frames:
        """Blocking: a fresh connection that has said hello. Raises ConnectionCut, HostError, Unavailable."""
        if self._master is not None:
            stream = self._master.stream()
        else:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(str(self._socket))
            except OSError as bad:
                sock.close()
                raise ConnectionCut(f"hostd does not listen on {self._socket}") from bad
            stream = SshStream(sock)
        frames = _Frames(stream)
        try:
            reply: HelloReply = frames.call("hello", self._hello)
            if reply.host != self._hello.host:
                raise HostError(ErrorCode.WRONG_HOST, f"this is host {reply.host}, not {self._hello.host}")
        except BaseException:
            frames.close()
            raise
        return frames


class ConsoleStream:
    """Raw bytes to and from a guest's serial port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """The next bytes the guest wrote; empty when the console has ended, or the connection."""
        try:
            length = int.from_bytes(await self._reader.readexactly(HEADER), "big")
            return await self._reader.readexactly(length) if length <= MAX_FRAME else b""
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def write(self, data: bytes) -> None:
        """Type `data`. Raises ConnectionError when the connection is gone."""
        for start in range(0, len(data), CHUNK):
            self._writer.write(frame(data[start : start + CHUNK]))
        await self._writer.drain()


class _Frames:
    """Calls and raw frames on one blocking connection."""

    def __init__(self, stream: SshStream) -> None:
        self.stream = stream
        self._last_id = 0
        stream.sock.settimeout(STALL)

    def call(self, call: str, body: Any, *, patience: float = STALL) -> Any:
        """The answer to one request. Raises HostError as the host raised it, ConnectionCut."""
        self._last_id += 1
        with self._cut_by("the host closed the connection"):
            self.stream.sock.sendall(encode(Request(id=self._last_id, call=call, body=dump(body))))
        return self.answer(CALLS[call][1], patience=patience)

    def answer(self, kind: type, *, patience: float = STALL) -> Any:
        """The next reply, which belongs to the last request. Raises HostError, ConnectionCut."""
        self.stream.sock.settimeout(patience)
        with self._cut_by("the host closed the connection"):
            length = int.from_bytes(self._exactly(HEADER), "big")
            if length > MAX_FRAME:
                raise HostError(ErrorCode.PROTOCOL, f"the host sent a frame of {length} bytes, beyond {MAX_FRAME}")
            reply = load(Reply, decode(self._exactly(length)))
        self.stream.sock.settimeout(STALL)
        if reply.error is not None:
            error = reply.error
            raise HostError(error.code, error.message, hint=error.hint, step=error.step)
        return load(kind, reply.ok)

    def send_file(self, file: BinaryIO, *, offset: int, size: int, sent: Callable[[int], None]) -> None:
        """Frames of the file's bytes from `offset` on, until `size` or until the host answers; then the empty frame."""
        sock = self.stream.sock
        with self._cut_by("the host closed the connection"):
            while offset < size and not self._answered():
                length = min(CHUNK, size - offset)
                sock.sendall(length.to_bytes(HEADER, "big"))
                if sock.sendfile(file, offset, length) < length:
                    raise ConnectionCut("the image's file became shorter while it was sent")
                offset += length
                sent(offset)
            if offset == size:
                sock.sendall(frame(b""))

    def close(self) -> None:
        self.stream.close()

    def _answered(self) -> bool:
        """Before its time, an answer is an error: the host wants no more bytes."""
        return bool(select.select([self.stream.sock], [], [], 0)[0])

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self.stream.sock.recv(count - len(data))
            if not part:
                raise ConnectionResetError
            data += part
        return bytes(data)

    @contextlib.contextmanager
    def _cut_by(self, otherwise: str) -> Any:
        try:
            yield
        except TimeoutError as silent:
            raise ConnectionCut(f"the host was silent for {self.stream.sock.gettimeout():g} s") from silent
        except OSError as bad:
            raise ConnectionCut(self.stream.why(otherwise)) from bad


class _Work:
    """A blocking piece of work that another thread may abort."""

    def __init__(self, connect: Callable[[], _Frames]) -> None:
        self._connect = connect
        self._frames: _Frames | None = None
        self._aborted = False

    def abort(self) -> None:
        self._aborted = True
        if self._frames is not None:
            self._frames.stream.abort()

    def _open(self) -> _Frames:
        self._frames = self._connect()
        if self._aborted:
            self._frames.close()
            raise ConnectionCut("given up")
        return self._frames


class _Sending(_Work):
    def __init__(self, connect: Callable[[], _Frames], path: Path, digest: str, *, progress: Progress | None) -> None:
        super().__init__(connect)
        self._path = path
        self._digest = digest
        self._progress = progress
        self.offset = -1
        """Where the host let this attempt begin: how far earlier ones came. -1 when it never answered."""

    def __call__(self) -> Received:
        with self._path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            frames = self._open()
            try:
                patience = STALL + size / _HASHING
                receiving: Receiving = frames.call(
                    "receive", Receive(digest=self._digest, size=size), patience=patience
                )
                self.offset = receiving.offset
                frames.send_file(file, offset=receiving.offset, size=size, sent=self._reporter(size))
                received: Received = frames.answer(Received, patience=patience)
                if self._progress is not None:
                    self._progress(size, size)
                return received
            finally:
                frames.close()

    def _reporter(self, size: int) -> Callable[[int], None]:
        reported = 0.0

        def report(done: int) -> None:
            nonlocal reported
            now = time.monotonic()
            if self._progress is not None and now - reported >= _PROGRESS_EVERY:
                reported = now
                self._progress(done, size)

        return report


class _Opening(_Work):
    def __init__(self, connect: Callable[[], _Frames], asked: Console) -> None:
        super().__init__(connect)
        self._asked = asked

    def __call__(self) -> SshStream:
        frames = self._open()
        try:
            frames.call("console", self._asked)
        except BaseException:
            frames.close()
            raise
        return frames.stream
