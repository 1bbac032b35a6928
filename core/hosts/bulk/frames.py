"""One blocking bulk connection, and pieces of work on it that another thread may abort."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from core.hosts.ssh_master import ConnectionCut, SshStream
from hostd.spec import CALLS, HEADER, MAX_FRAME, ErrorCode, HostError, Reply, Request, decode, dump, encode, frame, load

CHUNK: Final = 1024 * 1024
"""Bytes of a raw frame."""

STALL: Final = 60.0
"""Seconds a host may take no byte, or not answer a call, before the connection counts as cut."""


class Frames:
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
            reply = load(Reply, decode(bytes(self._exactly(length))))
        self.stream.sock.settimeout(STALL)
        if reply.error is not None:
            error = reply.error
            raise HostError(error.code, error.message, hint=error.hint, step=error.step)
        return load(kind, reply.ok)

    def send_file(self, file: BinaryIO, *, offset: int, size: int, sent: Callable[[int], None]) -> None:
        """Frames of the file's bytes from `offset` on, until `size` or until the host answers; then the empty frame."""
        sock = self.stream.sock
        with self._cut_by("the host closed the connection"):
            while offset < size and not self.answered():
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

    def send_raw(self, *parts: bytes | bytearray) -> None:
        """One raw frame of these bytes; of none it is the empty frame."""
        with self._cut_by("the host closed the connection"):
            label, *data = parts or (b"",)
            self.stream.sock.sendall(sum(map(len, parts)).to_bytes(HEADER, "big") + label)
            for part in data:
                self.stream.sock.sendall(part)

    def read_raw(self) -> bytearray:
        """The next raw frame's bytes."""
        with self._cut_by("the host closed the connection"):
            length = int.from_bytes(self._exactly(HEADER), "big")
            if length > MAX_FRAME:
                raise HostError(ErrorCode.PROTOCOL, f"the host sent a frame of {length} bytes, beyond {MAX_FRAME}")
            return self._exactly(length)

    def answered(self) -> bool:
        """Before its time, an answer is an error: the host wants no more bytes."""
        return bool(select.select([self.stream.sock], [], [], 0)[0])

    def _exactly(self, count: int) -> bytearray:
        data = bytearray(count)
        left = memoryview(data)
        while left:
            got = self.stream.sock.recv_into(left)
            if not got:
                raise ConnectionResetError
            left = left[got:]
        return data

    @contextlib.contextmanager
    def _cut_by(self, otherwise: str) -> Any:
        try:
            yield
        except TimeoutError as silent:
            raise ConnectionCut(f"the host was silent for {self.stream.sock.gettimeout():g} s") from silent
        except OSError as bad:
            raise ConnectionCut(self.stream.why(otherwise)) from bad


class Work:
    """A blocking piece of work that another thread may abort."""

    def __init__(self, connect: Callable[[], Frames]) -> None:
        self._connect = connect
        self._frames: Frames | None = None
        self._aborted = False

    def __call__(self) -> Any:
        """Do it, or begin it."""
        raise NotImplementedError

    def abort(self) -> None:
        self._aborted = True
        if self._frames is not None:
            self._frames.stream.abort()

    def _open(self) -> Frames:
        self._frames = self._connect()
        if self._aborted:
            self._frames.close()
            raise ConnectionCut("given up")
        return self._frames
