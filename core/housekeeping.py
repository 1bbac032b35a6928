"""What the engine tidies now and then: bytes of deleted images, unused images in hosts' caches, old tickets."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable

from sqlalchemy import delete
from sqlmodel import Session, col

from core.config import Config
from core.door import Ticket
from core.errors import SkydeckError
from core.hosts.pool import HostHandle
from core.images import bring, caching
from core.images.images import Image
from core.runner import Runner
from core.sql import select
from core.store import now
from hostd.spec import Prune, Pruned

_log = logging.getLogger(__name__)

EVERY = 300.0
"""Seconds between two rounds."""

DEADLINE = 60.0


async def keep(runner: Runner, config: Config, hosts: Callable[[], list[HostHandle]]) -> None:
    """Tidy for ever; what fails is tried again in the next round."""
    while True:
        await asyncio.sleep(EVERY)
        try:
            await tidy(runner, config, hosts())
        except SkydeckError as bad:
            _log.warning("tidying: %s", bad.title)


async def tidy(runner: Runner, config: Config, hosts: list[HostHandle]) -> None:
    """One round."""
    await runner.write(lambda session: session.execute(delete(Ticket).where(col(Ticket.valid_until) < now(session))))
    gone = await runner.read(_deleted)
    await asyncio.to_thread(bring.sweep, runner.store, config)
    for host in hosts:
        if host.up:
            keep = await runner.read(functools.partial(caching.pinned, host_id=host.id))
            wanted = Prune(keep_bytes=config.image_cache_bytes, digests=tuple(sorted(gone)), keep=keep)
            pruned: Pruned = await host.call("prune", wanted, deadline=DEADLINE)
            for digest in pruned.removed:
                host.forget_image(digest)
                _log.info("host %s: image %s was pruned from its cache", host.name, digest[:12])


def _deleted(session: Session) -> set[str]:
    """Digests that no image stands on any more."""
    kept = select(Image.digest).where(col(Image.status) != "deleted", col(Image.digest).is_not(None))
    lost = select(Image.digest).where(col(Image.status) == "deleted", col(Image.digest).is_not(None))
    return set(session.execute(lost).scalars()) - set(session.execute(kept).scalars())
