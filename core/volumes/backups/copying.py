"""Contents of disks into a repository, and out of it: several chunks at once, in threads."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any, Final, TypeVar

from core.errors import Failed
from core.hosts.bulk import Extent
from core.volumes.backups.manifest import Manifest
from core.volumes.backups.repository import Repository
from hostd.spec import Reading

AT_ONCE: Final = 4
"""Chunks being packed or unpacked at a time: of each there is one in memory."""

Progress = Callable[[int, int], None]
"""Told (bytes gone through, bytes in all)."""

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """A backup that is complete."""

    digest: str
    """Of its manifest."""
    chunks: int
    """It stands on."""
    added: int
    """Bytes the repository grew by, the manifest left out."""


async def store(
    repository: Repository,
    reading: Reading,
    extents: AsyncIterator[Extent],
    *,
    about: Manifest,
    parent: Manifest | None,
    progress: Progress,
) -> Stored:
    """Write a backup: `about` without its chunks. What is not read is as in `parent`.

    Whatever is raised, the repository has the backup whole or does not have it. Raises Full, Unavailable, Unknown, and
    what the stream raises.
    """
    chunks = dict(parent.chunks) if parent is not None and reading.since else {}
    added = 0
    writer = await asyncio.to_thread(repository.begin, about.backup)
    try:
        pending: deque[tuple[int, asyncio.Task[tuple[bytes, int]]]] = deque()
        try:
            async for extent in extents:
                first = _number(extent, about)
                if extent.data is None:
                    for number in range(first, -(-(extent.offset + extent.length) // about.chunk)):
                        chunks.pop(number, None)
                else:
                    pending.append((first, asyncio.create_task(asyncio.to_thread(writer.put, extent.data))))
                if len(pending) == AT_ONCE:
                    number, task = pending.popleft()
                    chunks[number], more = await task
                    added += more
                progress(extent.offset + extent.length, reading.size)
            while pending:
                number, task = pending.popleft()
                chunks[number], more = await task
                added += more
        finally:
            await _let_finish(task for _, task in pending)
        whole = dataclasses.replace(about, chunks=chunks)
        digest = await asyncio.to_thread(writer.finish, whole)
    finally:
        await _for_sure(writer.end)
    return Stored(digest=digest, chunks=len(set(chunks.values())), added=added)


async def contents(
    repository: Repository, manifest: Manifest, *, zeros: bool, progress: Progress
) -> AsyncGenerator[Extent, None]:
    """A backup's contents in order, each chunk checked; `zeros`: its zeros as well, in runs. Raises Damaged."""
    done = 0
    runs = manifest.zeros() if zeros else iter(())
    run = next(runs, None)
    async for number, data in _ahead(repository, manifest, sorted(manifest.chunks)):
        offset = number * manifest.chunk
        while run is not None and run[0] < offset:
            yield Extent(run[0], run[1] - run[0])
            run = next(runs, None)
        yield Extent(offset, len(data), data)
        done += len(data)
        progress(done, len(manifest.chunks) * manifest.chunk)
    while run is not None:
        yield Extent(run[0], run[1] - run[0])
        run = next(runs, None)


async def check(repository: Repository, manifest: Manifest, progress: Progress) -> None:
    """Read every chunk and compare its digest. Raises Damaged naming the first that is not what it was."""
    numbers = {digest: number for number, digest in sorted(manifest.chunks.items(), reverse=True)}
    done = 0
    async for _, data in _ahead(repository, manifest, sorted(numbers.values())):
        done += len(data)
        progress(done, len(numbers) * manifest.chunk)


async def _ahead(repository: Repository, manifest: Manifest, numbers: list[int]) -> AsyncIterator[tuple[int, bytes]]:
    """Chunks in the order asked for, a few of them read ahead."""
    pending: deque[tuple[int, asyncio.Task[bytes]]] = deque()
    coming = iter(numbers)
    try:
        while True:
            while len(pending) < AT_ONCE and (number := next(coming, None)) is not None:
                task = asyncio.create_task(asyncio.to_thread(repository.chunk, manifest, number))
                pending.append((number, task))
            if not pending:
                return
            number, task = pending.popleft()
            yield number, await task
    finally:
        await _let_finish(task for _, task in pending)


def _number(extent: Extent, about: Manifest) -> int:
    """The chunk that an extent begins. Raises Failed for one that does not begin at a chunk, or is none."""
    number, beside = divmod(extent.offset, about.chunk)
    whole = extent.data is None or extent.length == about.length(number)
    if beside or not whole:
        raise Failed(
            f"the host sent {extent.length} bytes from {extent.offset} on, which is no chunk",
            hint="Bring hostd there to the controller's version: skydeck host add",
        )
    return number


async def _let_finish(tasks: Iterator[asyncio.Task[Any]]) -> None:
    """Threads cannot be stopped: nothing goes on behind the caller's back."""
    await asyncio.gather(*tasks, return_exceptions=True)


async def _for_sure(call: Callable[[], T]) -> T:
    """Also while being cancelled."""
    return await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(call)))
