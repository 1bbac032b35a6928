"""One open connection to hostd: frames in and out, answers matched to calls, events passed on.

A conversation ends once, with a reason; the link (core/hosts/link.py) then opens the next one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from core.errors import Unknown
from core.hosts.transport import Channel, Transport
from hostd.spec import (
    CALLS,
    HEADER,
    MAX_FRAME,
    Event,
    HostError,
    Pushed,
    Reply,
    decode,
    dump,
    frame,
    load,
)


class Conversation:
    """Calls over one channel, many at once. The `Receiver` of its transport."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._on_event = on_event
        self._channel: Channel | None = None
        self._buffer = bytearray()
        self._waiting: dict[int, tuple[str, asyncio.Future[Any]]] = {}
        self._last_id = 0
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = loop.create_future()
        """Done when the connection is gone; the result is the reason in words."""
        self.heard_at = loop.time()
        """When the host last sent anything, in the event loop's time."""

    async def open(self, transport: Transport) -> None:
        """Raises Unavailable."""
        self._channel = await transport.open(self)

    def close(self, reason: str) -> None:
        """End at once; every unanswered call becomes Unknown."""
        self._end(reason)
        if self._channel is not None:
            self._channel.close()

    def start(self, call: str, body: Any) -> asyncio.Future[Any]:
        """Send one request. The future holds the answer as its type of CALLS, HostError or Unknown.

        Raises HostError(PROTOCOL) for a request beyond MAX_FRAME: nothing was sent.
        """
        assert self._channel is not None
        self._last_id += 1
        request = {"id": self._last_id, "call": call, "body": dump(body)}
        framed = frame(json.dumps(request, separators=(",", ":")).encode())
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.ended.done():
            answer.set_exception(_unknown(call, self.ended.result()))
            return answer
        number = self._last_id
        self._waiting[number] = (call, answer)
        # A caller that gives up leaves nothing behind; the late answer then finds nobody.
        answer.add_done_callback(lambda _: self._waiting.pop(number, None))
        self._channel.write(framed)
        return answer

    async def call(self, call: str, body: Any, *, timeout: float | None = None) -> Any:
        """The answer to one request. Raises HostError as the host raised it, Unknown when no answer was read."""
        answer = self.start(call, body)
        if timeout is None:
            return await answer
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise Unknown(
                f"no answer to {call} within {timeout:g} s",
                hint="it may or may not have happened; the host is asked again",
            ) from None

    # -- called by the transport

    def data_received(self, data: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        self._buffer += data
        buffer = self._buffer
        start = 0
        try:
            while len(buffer) - start >= HEADER:
                body_at = start + HEADER
                length = int.from_bytes(buffer[start:body_at], "big")
                if length > MAX_FRAME:
                    self.close(f"the host sent a frame of {length} bytes, beyond {MAX_FRAME}")
                    return
                if len(buffer) < body_at + length:
                    break
                self._frame(bytes(buffer[body_at : body_at + length]))
                start = body_at + length
        except HostError as bad:
            self.close(f"the host sent what this side does not know: {bad}")
        finally:
            del buffer[:start]

    def connection_lost(self, reason: str) -> None:
        self._end(reason)

    # -- inside

    def _frame(self, body: bytes) -> None:
        plain = decode(body)
        if "event" in plain:
            self._on_event(load(Pushed, plain).event)
            return
        reply = load(Reply, plain)
        call, answer = self._waiting.get(reply.id, ("", None))
        if answer is None or answer.done():
            return
        if reply.error is not None:
            error = reply.error
            answer.set_exception(HostError(error.code, error.message, hint=error.hint, step=error.step))
            return
        try:
            answer.set_result(load(CALLS[call][1], reply.ok))
        except HostError as bad:
            # One answer of an unknown shape is that call's trouble, not the connection's.
            answer.set_exception(bad)

    def _end(self, reason: str) -> None:
        if self.ended.done():
            return
        self.ended.set_result(reason)
        for call, answer in list(self._waiting.values()):
            if not answer.done():
                answer.set_exception(_unknown(call, reason))


def _unknown(call: str, reason: str) -> Unknown:
    return Unknown(
        f"the connection was cut before the answer to {call}: {reason}",
        hint="it may or may not have happened; the host is asked again when it is back",
    )
