"""Contents of disks into a repository, and out of it: several chunks at once, in threads."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

from core.errors import Failed, Unknown
from core.hosts.bulk import Extent
from core.volumes.backups.manifest import Manifest
from core.volumes.backups.repository import Repository, TooLate, Writer
from hostd.spec import Reading

AT_ONCE: Final = 4
"""Chunks being packed or unpacked at a time: of each there is one in memory."""

Progress = Callable[[int, int], None]
"""Told (bytes gone through, bytes in all)."""

TRIES: Final = 5
"""Cuts of a stream in a row that bring nothing forward before it is given up."""

_PAUSE: Final = 0.1

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


Open = Callable[[int], AbstractAsyncContextManager[tuple[Reading, AsyncIterator[Extent]]]]
"""Opens a stream of the same contents from a byte on."""


async def store(
    repository: Repository, open: Open, *, about: Manifest, parent: Manifest | None, progress: Progress
) -> Stored:
    """Write a backup: `about` without its chunks and its size. What is not read is as in `parent`.

    A stream that is cut is opened again where it was. Whatever is raised, the repository has the backup whole or does
    not have it. Raises Full, Unavailable, TooLate, Unknown when TRIES cuts in a row brought nothing forward, and what
    else the stream raises.
    """
    writer = await asyncio.to_thread(repository.begin, about.backup)
    try:
        chunks = _Chunks(writer, about)
        failures = 0
        while True:
            before = chunks.reached
            try:
                async with open(chunks.reached) as (reading, extents):
                    await chunks.take(reading, extents, parent=parent, progress=progress)
                break
            except TooLate:
                raise
            except Unknown:
                failures = failures + 1 if chunks.reached == before else 1
                if failures >= TRIES:
                    raise
            await asyncio.sleep(_PAUSE * 2**failures)
        whole = dataclasses.replace(about, chunks=chunks.found, size=chunks.size)
        digest = await asyncio.to_thread(writer.finish, whole)
    finally:
        await _for_sure(writer.end)
    return Stored(digest=digest, chunks=len(set(whole.chunks.values())), added=chunks.added)


class _Chunks:
    """Chunks of a backup on their way into the repository."""

    def __init__(self, writer: Writer, about: Manifest) -> None:
        self._writer = writer
        self._about = about
        self._pending: deque[tuple[int, asyncio.Task[tuple[bytes, int]]]] = deque()
        self.found: dict[int, bytes] = {}
        self.added = 0
        """Bytes stored."""
        self.size = 0
        """Of the disk."""
        self.reached = 0
        """All before this byte is stored, or being stored."""

    async def take(
        self,
        reading: Reading,
        extents: AsyncIterator[Extent],
        *,
        parent: Manifest | None,
        progress: Progress,
    ) -> None:
        if not self.reached:
            self.found = dict(parent.chunks) if parent is not None and reading.since else {}
        self.size = reading.size
        about = dataclasses.replace(self._about, size=self.size)
        try:
            async for extent in extents:
                first = _number(extent, about)
                end = extent.offset + extent.length
                if extent.data is None:
                    for number in range(first, -(-end // about.chunk)):
                        self.found.pop(number, None)
                else:
                    task = asyncio.create_task(asyncio.to_thread(self._writer.put, extent.data))
                    self._pending.append((first, task))
                self.reached = end
                if len(self._pending) == AT_ONCE:
                    await self._settle()
                progress(end, self.size)
        finally:
            # Threads cannot be stopped: nothing goes on behind the caller's back.
            await asyncio.gather(*(task for _, task in self._pending), return_exceptions=True)
            while self._pending:
                await self._settle()

    async def _settle(self) -> None:
        number, task = self._pending.popleft()
        self.found[number], added = await task
        self.added += added


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
