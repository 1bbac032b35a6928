"""What a step of an operation is given: its operation, the store, the hosts; and what a kind of operation is.

A step is idempotent: it may run again after a crash, with whatever it noted in `data` before. A step that changes a
host notes the generation it is about to give out first, and uses the same one when it runs again.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from sqlmodel import Session

from core.config import Config
from core.hosts.bulk import Extent
from core.network.fabric import Publisher
from core.operations import operations
from core.operations.operations import Operation
from core.runner import Runner
from hostd.spec import Observation, Read, Reading, Streamed, Write

T = TypeVar("T")


class HostLink(Protocol):
    """One host, as steps speak to it."""

    id: str
    name: str

    @property
    def up(self) -> bool: ...

    async def call(self, call: str, body: Any, *, deadline: float) -> Any:
        """Asked again after a cut until the answer is read.

        Raises Unavailable when nothing was ever sent, Unknown when the outcome could not be read in `deadline`
        seconds, HostFailed when the host refused or failed it.
        """

    async def carry(self, digest: str, size: int, progress: Callable[[int], None]) -> None:
        """Bring an image of the store into the host's cache, unless it is there. Raises as `call`."""

    def forget_image(self, digest: str) -> None:
        """The host said it lacks this image after all."""

    async def observe(self) -> Observation: ...

    def read(self, asked: Read) -> AbstractAsyncContextManager[tuple[Reading, AsyncIterator[Extent]]]:
        """The contents of a disk, in order, as they are taken. Raises as `call`, also while they are."""

    async def write(self, asked: Write, extents: AsyncIterable[Extent]) -> Streamed:
        """Overwrite parts of a volume that nobody has open. Raises as `call`, and whatever `extents` raises."""


class Hosts(Protocol):
    """The hosts there are."""

    def get(self, host_id: str) -> HostLink:
        """Raises Unavailable for a host that is not, or no longer, known."""


@dataclasses.dataclass(kw_only=True)
class Work:
    """One operation, being worked on by this engine."""

    operation: Operation
    """A snapshot as claimed; `data` is kept current."""
    runner: Runner
    hosts: Hosts
    config: Config
    networking: Publisher
    report: Callable[[int], None] = lambda percent: None
    """Tell how far the running step is, 0 to 100."""
    cancelled: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Set when somebody asked to cancel while a step runs."""

    @property
    def data(self) -> dict[str, Any]:
        return self.operation.data

    def note(self, **noted: Any) -> None:
        """Remember something across steps. Kept with the next write; a crash before it runs the step again."""
        self.operation.data = {**self.operation.data, **noted}

    async def write(self, change: Callable[[Session], T]) -> T:
        """A transaction that also keeps what was noted, inside it or before, and holds only while the operation is
        ours. Raises Superseded, and then nothing of it happened."""
        before = self.operation.data

        def run(session: Session) -> T:
            result = change(session)
            operations.write(session, self.operation, data=self.operation.data)
            return result

        try:
            return await self.runner.write(run)
        except BaseException:
            self.operation.data = before
            raise

    async def read(self, query: Callable[[Session], T]) -> T:
        return await self.runner.read(query)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One named, idempotent part of an operation."""

    name: str
    run: Callable[[Work], Awaitable[None]]
    undo: Callable[[Work], Awaitable[None]] | None = None
    """Takes back what `run` made, also when it was interrupted; idempotent as well."""
    task: str | None = None
    """The task_state its object shows meanwhile."""
    weight: int = 1
    """Its share of the progress bar."""
    interruptible: bool = False
    """A cancel need not wait for its end: nothing is lost when it is cut short."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of operation: its steps, and what its end means to its object. All ends run in the transaction that ends
    the operation, so that the two can never disagree."""

    steps: tuple[Step, ...]
    complete: Callable[[Session, Work], None]
    failed: Callable[[Session, Work, dict[str, Any]], None]
    """After the undo; the error is {type, title, hint}."""
    cancelled: Callable[[Session, Work], None]
    elsewhere: Callable[[Session, Work, dict[str, Any]], bool] | None = None
    """After the undo of a failed attempt: arrange another attempt (on another host); False when there is none."""
    show: Callable[[Session, Work, Step], None] = lambda session, work, step: None
    """Make the step visible on the object (its task_state)."""
