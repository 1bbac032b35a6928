"""Bytes between somebody at the door and a host, both ways, until one side ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from core.hosts.bulk import FrameStream, TunnelStream
from hostd.spec import HEADER, MAX_FRAME, frame

_READ = 1 << 16


async def frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: FrameStream) -> None:
    """A console's frames, as they are."""

    async def out() -> None:
        while body := await stream.body():
            writer.write(frame(body))
            await writer.drain()

    async def typed() -> None:
        while True:
            length = int.from_bytes(await reader.readexactly(HEADER), "big")
            if not 0 < length <= MAX_FRAME:
                return
            await stream.send(frame(await reader.readexactly(length)))

    await _until_either(out(), typed())


async def raw(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: TunnelStream) -> None:
    """Plain bytes on this side. When this side ends its direction, what comes back still arrives."""

    async def out() -> None:
        while data := await stream.body():
            writer.write(data)
            await writer.drain()

    async def there() -> None:
        while data := await reader.read(_READ):
            await stream.write(data)
        await stream.end()

    back = asyncio.ensure_future(out())
    forth = asyncio.ensure_future(there())
    try:
        await asyncio.wait({back})  # the guest's end is the end; ours is only half of it
    finally:
        back.cancel()
        forth.cancel()
        await asyncio.gather(back, forth, return_exceptions=True)


async def _until_either(*works: Awaitable[None]) -> None:
    ways = {asyncio.ensure_future(work) for work in works}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
