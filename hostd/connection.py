"""Frames over one UNIX socket, awaited on the event loop or, for bulk bytes, read in place by a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Final

from hostd.spec import HEADER, MAX_FRAME, ErrorCode, HostError, encode

_READ: Final = 64 * 1024


class Connection:
    """A client's connection. Reading is for one task at a time; writing is for any number."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._buffer = bytearray()
        self._writing = asyncio.Lock()

    async def read(self) -> bytes | None:
        """The body of the next frame; None when the client has gone.

        Raises HostError(PROTOCOL) for a frame that is too long: nothing after it makes sense.
        """
        if not await self._fill(HEADER):
            return None
        end = HEADER + _length(self._buffer)
        if not await self._fill(end):
            return None
        body = bytes(self._buffer[HEADER:end])
        del self._buffer[:end]
        return body

    async def write(self, data: bytes) -> None:
        """Send whole frames. Raises OSError when the client has gone."""
        async with self._writing:
            await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def send(self, value: Any) -> None:
        """Send a wire value as one frame."""
        await self.write(encode(value))

    def cut(self) -> None:
        """End both directions: whoever reads or writes, in a task or in a thread, finds the client gone."""
        with contextlib.suppress(OSError):  # gone already
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._sock.close()

    def lend(self) -> Blocking:
        """The connection for a thread to read and write; nobody else may until `take_back`."""
        self._sock.setblocking(True)
        return Blocking(self._sock, self._buffer)

    def take_back(self) -> None:
        self._sock.setblocking(False)

    async def _fill(self, count: int) -> bool:
        loop = asyncio.get_running_loop()
        while len(self._buffer) < count:
            try:
                data = await loop.sock_recv(self._sock, max(_READ, min(count - len(self._buffer), MAX_FRAME)))
            except ConnectionError:
                return False
            if not data:
                return False
            self._buffer += data
        return True


class Blocking:
    """A lent connection: raw frames without a copy, for a thread."""

    def __init__(self, sock: socket.socket, buffered: bytearray) -> None:
        self._sock = sock
        self._buffered = buffered

    def read_into(self, buffer: memoryview) -> memoryview:
        """The next frame's bytes, in `buffer` (MAX_FRAME or longer); empty for the frame that ends the stream.

        Raises ConnectionError when the client has gone, HostError(PROTOCOL) for a frame that is too long.
        """
        header = memoryview(bytearray(HEADER))
        self._exactly(header)
        body = buffer[: _length(header)]
        self._exactly(body)
        return body

    def send(self, value: Any) -> None:
        """Send a wire value as one frame. Raises OSError when the client has gone."""
        self._sock.sendall(encode(value))

    def send_raw(self, *parts: bytes | bytearray) -> None:
        """Send these bytes as one raw frame, without joining them first; none: the empty frame, which ends a stream.

        Raises OSError when the client has gone.
        """
        length = sum(map(len, parts))
        left = [memoryview(part) for part in (length.to_bytes(HEADER, "big"), *parts)]
        while left:
            sent = self._sock.sendmsg(left)
            while left and sent >= len(left[0]):
                sent -= len(left.pop(0))
            if left:
                left[0] = left[0][sent:]

    def end(self, patience: float, scratch: memoryview) -> None:
        """After an error in mid-stream: say no more, and swallow what is still coming for a while.

        Closing at once could cost the client the error it is about to read.
        """
        with contextlib.suppress(OSError):  # gone, or silent for all that time
            self._sock.shutdown(socket.SHUT_WR)
            self._sock.settimeout(patience)
            while self._sock.recv_into(scratch):
                pass

    def _exactly(self, target: memoryview) -> None:
        ready = min(len(self._buffered), len(target))
        target[:ready] = self._buffered[:ready]
        del self._buffered[:ready]
        while ready < len(target):
            count = self._sock.recv_into(target[ready:])
            if not count:
                raise ConnectionResetError("the stream ended in mid-frame")
            ready += count


def _length(header: bytearray | memoryview) -> int:
    length = int.from_bytes(header[:HEADER], "big")
    if length > MAX_FRAME:
        raise HostError(ErrorCode.PROTOCOL, f"frame of {length} bytes exceeds {MAX_FRAME}")
    return length
