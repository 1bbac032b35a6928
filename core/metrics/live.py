"""One object's last ten minutes, second by second: asked of its host through the engine's door.

A ticket opens it; on the socket then goes one JSON line {span_s, since} for each look, answered by one that holds what
the host measured after `since`. The connection stays for as long as somebody looks, so that a look costs no ticket.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from core.errors import HostFailed, SkydeckError, Unavailable
from core.metrics.rates import SECOND, Rate, Series, guest_rate, host_rate, to_series
from hostd.spec import ErrorCode, GuestSample, HostSample, Measured, dump, load
from hostd.spec.metrics import unpack_guests, unpack_host

LONGEST_SPAN = 600
"""Seconds that a host remembers."""

LONGEST = 12.0
"""Seconds between two samples that still make a rate: a host at its slowest takes one in ten."""


class Live:
    """A view of one object, opened by core.door.metrics."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._guest: list[GuestSample] = []
        self._host: list[HostSample] = []
        self._since: int | None = None
        self._turn = asyncio.Lock()

    async def read(self, span_s: int) -> Series:
        """The last so many seconds, until now. Raises Unavailable when the engine has ended or the host does not
        answer. Whoever waits may be cancelled: the exchange comes to its end all the same, and the next is in step."""
        look = asyncio.ensure_future(self._look(span_s))
        look.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(look)

    async def _look(self, span_s: int) -> Series:
        async with self._turn:
            span_s = min(span_s, LONGEST_SPAN)
            since = self._since if self._since is not None else -LONGEST_SPAN * SECOND
            try:
                self._writer.write(json.dumps({"since": since}).encode() + b"\n")
                await self._writer.drain()
                line = await self._reader.readline()
            except ConnectionError:
                line = b""
            if not line:
                raise Unavailable("the engine ended before it answered", hint="Try again.")
            answer = json.loads(line)
            if error := answer.get("error"):
                raise Unavailable(error["title"], hint=error["hint"])
            return self._taken(load(Measured, answer["measured"]), span_s)

    def _taken(self, measured: Measured, span_s: int) -> Series:
        oldest = measured.at - LONGEST_SPAN * SECOND
        self._guest = [each for each in [*self._guest, *unpack_guests(measured.guests)] if each.at_us > oldest]
        self._host = [each for each in [*self._host, *unpack_host(measured.host)] if each.at_us > oldest]
        newest = [*(each.at_us for each in self._guest[-1:]), *(each.at_us for each in self._host[-1:])]
        self._since = max(newest, default=None)
        rates = [*_rates(self._guest, guest_rate), *_rates(self._host, host_rate)]
        return to_series([rate for rate in rates if rate.at > measured.at - span_s * SECOND], step=measured.every)

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def _rates(samples: Sequence[Any], rate: Callable[..., Rate | None]) -> list[Rate]:
    made = (rate(before, after, longest=LONGEST) for before, after in itertools.pairwise(samples))
    return [each for each in made if each is not None]


def told(error: SkydeckError) -> dict[str, Any]:
    """An error as the view's other end gets it."""
    if isinstance(error, HostFailed) and error.code == ErrorCode.PROTOCOL.value:
        hint = "skydeck host add, again, brings it up to date."
        error = Unavailable("its host keeps no metrics: hostd is older there", hint=hint)
    return error.to_json()


async def serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    measure: Callable[[int], Awaitable[Measured | dict[str, str]]],
) -> None:
    """The engine's end: answers look after look until the other side goes. `measure` answers the samples after a
    moment, or the error that there was."""
    while line := await reader.readline():
        answer = await measure(int(json.loads(line)["since"]))
        said = {"measured": dump(answer)} if isinstance(answer, Measured) else {"error": answer}
        writer.write(json.dumps(said).encode() + b"\n")
        await writer.drain()
