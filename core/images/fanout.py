"""Who gives an image to whom: a tree that grows while twenty hosts want the same image, the controller at its root.

Every source gives to one host at a time (the controller to two); whoever has got it is a source from then on, so that
n hosts are served in about log n turns. A host that cannot take from another, because the two do not reach each other,
is served by the controller. The copy itself is hostd/peers.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

import attrs

from core.errors import SkydeckError
from hostd.spec import Act, Acted

_log = logging.getLogger(__name__)

SMALLEST: Final = 64 << 20
"""Bytes below which arranging a copy is not worth it."""

AT_ONCE: Final = 2
"""Hosts that the controller itself gives one image to at a time."""

APART: Final = 600.0
"""Seconds until two hosts that did not come together are tried again."""

QUICK: Final = 30.0
_SLOWEST: Final = 2 << 20
"""Bytes a second at which a copy between hosts may take place before it counts as stuck."""


@attrs.frozen(kw_only=True)
class Way:
    """How another host reaches this one."""

    address: str
    port: int
    host_key: str


class Peer(Protocol):
    """A host, as copies see it."""

    id: str
    name: str
    way: Way | None
    """None for the local machine."""

    @property
    def up(self) -> bool: ...

    def has_image(self, digest: str) -> bool: ...

    def got_image(self, digest: str) -> None: ...

    async def call(self, call: str, body: Any, *, deadline: float) -> Any: ...


class FanOut:
    """The copies of one engine. Lives on the event loop."""

    def __init__(self, peers: Callable[[], Iterable[Peer]]) -> None:
        self._peers = peers
        self._giving: dict[tuple[str, str], int] = {}
        """(Source, digest) to copies under way; the controller is the empty source."""
        self._apart: dict[tuple[str, str], float] = {}
        """(Giver, taker) that did not come together to the monotonic time when."""
        self._changed = asyncio.Condition()

    async def bring(
        self,
        taker: Peer,
        digest: str,
        size: int,
        *,
        carry: Callable[[], Awaitable[None]],
        progress: Callable[[int], None],
    ) -> None:
        """Have `taker` get an image: from another host when one can give it, else by `carry`, the controller's own way.

        Raises what `carry` raises.
        """
        if size < SMALLEST or taker.way is None:
            await carry()
            taker.got_image(digest)
            return
        while True:
            async with self._source(taker, digest) as giver:
                if giver is None:
                    await carry()
                elif await self._copied(giver, taker, digest, size):
                    progress(size)
                else:
                    continue
                # Before the source is free again: whoever waits for one finds two.
                taker.got_image(digest)
                return

    async def _copied(self, giver: Peer, taker: Peer, digest: str, size: int) -> bool:
        try:
            await _copy(giver, taker, digest, size)
        except SkydeckError as bad:
            _log.info("image %s from %s to %s: %s", digest[:12], giver.name, taker.name, bad.title)
            self._apart[giver.id, taker.id] = time.monotonic()
            return False
        return True

    @contextlib.asynccontextmanager
    async def _source(self, taker: Peer, digest: str) -> AsyncIterator[Peer | None]:
        """A source that is free, waited for: a host, or None for the controller."""
        async with self._changed:
            while not (free := self._free(taker, digest)):
                await self._changed.wait()
            found = free[0]
            key = (found.id if found is not None else "", digest)
            self._giving[key] = self._giving.get(key, 0) + 1
        try:
            yield found
        finally:
            async with self._changed:
                self._giving[key] -= 1
                if not self._giving[key]:
                    del self._giving[key]
                self._changed.notify_all()

    def _free(self, taker: Peer, digest: str) -> tuple[Peer | None] | None:
        """The host that may give it, or (None,) for the controller; None when all are busy."""
        lately = time.monotonic() - APART
        for peer in self._peers():
            fit = peer.id != taker.id and peer.way is not None and peer.up
            fit = fit and self._apart.get((peer.id, taker.id), lately) <= lately
            if fit and peer.has_image(digest) and not self._giving.get((peer.id, digest)):
                return (peer,)
        return (None,) if self._giving.get(("", digest), 0) < AT_ONCE else None


async def _copy(giver: Peer, taker: Peer, digest: str, size: int) -> None:
    """One copy; nothing of its arrangement is left, whatever becomes of it. Raises as `HostLink.call`."""
    name = uuid.uuid4().hex
    seconds = QUICK + size / _SLOWEST
    assert giver.way is not None  # _free has seen to it

    async def act(peer: Peer, verb: str, deadline: float = QUICK, **args: Any) -> dict[str, Any]:
        body = Act(request=f"{name}-{verb}", verb=verb, uuid=peer.id, args={"copy": name, **args})
        acted: Acted = await peer.call("act", body, deadline=deadline)
        return acted.detail

    asked = await act(taker, "image_ask")
    try:
        await act(giver, "image_offer", digest=digest, public_key=asked["public_key"], seconds=int(seconds))
        await act(taker, "image_take", seconds, digest=digest, size=size, **attrs.asdict(giver.way))
    finally:
        with contextlib.suppress(SkydeckError):
            # A giver that is gone meanwhile forgets the key by itself.
            await asyncio.shield(act(giver, "image_withdraw"))
