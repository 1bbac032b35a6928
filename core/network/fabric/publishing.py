"""Telling hosts: one document at a time per host, always the newest, for as long as it takes.

What the database wants is a generation per host; what is missing is seen by comparing two numbers, so nothing is
queued and nothing is lost in a crash. Many changes while a host is being told become one document.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any, Protocol

import attrs
from sqlmodel import Session, col

from core.config import Config
from core.errors import HostFailed, SkydeckError, Unavailable, Unknown
from core.hosts.hosts import Host
from core.network.fabric.document import document
from core.network.fabric.settling import confirm
from core.network.fabric.table import HostNetworking
from core.runner import Runner
from core.sql import select
from core.store import now
from hostd.spec import Apply, ErrorCode, ObjectKind, digest, dump

_log = logging.getLogger(__name__)

DEADLINE = 60.0
"""Seconds until an answer is given up as unknown."""

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 30.0
"""Seconds between tries for a host that refuses its document."""


class Caller(Protocol):
    """A host, as far as it is told documents. Raises as core.operations.work.HostLink.call."""

    @property
    def up(self) -> bool: ...

    async def call(self, call: str, body: Any, *, deadline: float) -> Any: ...


class Callers(Protocol):
    def get(self, host_id: str) -> Caller:
        """Raises Unavailable for a host that is not known."""


@attrs.frozen(kw_only=True)
class _Wanted:
    generation: int
    digest: str
    plain: dict[str, Any] | None
    """None when the host has just this document already."""


class Publisher:
    """Every host's document, kept up to date. One per engine."""

    def __init__(self, runner: Runner, hosts: Callers, config: Config) -> None:
        self._runner = runner
        self._hosts = hosts
        self._config = config
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def busy(self) -> bool:
        return bool(self._tasks)

    async def look(self) -> None:
        """Start telling every connected host whose document is newer than what it has confirmed."""
        behind = await self._runner.read(_behind)
        for host_id in behind:
            if host_id not in self._tasks and self._up(host_id):
                task = asyncio.create_task(self._keep_telling(host_id), name=f"networking of {host_id}")
                self._tasks[host_id] = task
                task.add_done_callback(functools.partial(self._told, host_id))

    def _told(self, host_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(host_id, None)
        if not task.cancelled() and (broke := task.exception()):
            _log.error("networking of host %s: %s", host_id, broke, exc_info=broke)

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def publish(self, host_id: str) -> None:
        """Have the host confirm its document as it is now; at once when it has.

        Raises what a call raises; HostFailed also names why the host could not make it so.
        """
        async with self._locks.setdefault(host_id, asyncio.Lock()):
            for _ in range(2):
                wanted = await self._runner.read(lambda session: _wanted(session, self._config, host_id))
                if wanted is None:
                    return
                try:
                    if wanted.plain is not None:
                        await self._send(host_id, wanted)
                except HostFailed as bad:
                    if bad.code == ErrorCode.CONFLICT:
                        # The same generation with another document: another version of this program built it.
                        await self._runner.write(lambda session: renew(session, host_id))
                        continue
                    error = bad.to_json()
                    await self._runner.write(lambda session: _failed(session, host_id, error))  # noqa: B023
                    raise
                await self._runner.write(lambda session: confirm(session, host_id, wanted.generation, wanted.digest))  # noqa: B023
                return
            raise HostFailed(
                "the host has another document of the same generation", hint="Its journal is ahead.", transient=True
            )

    async def _send(self, host_id: str, wanted: _Wanted) -> None:
        assert wanted.plain is not None
        await self._hosts.get(host_id).call(
            "apply",
            Apply(kind=ObjectKind.NETWORKING, uuid=host_id, generation=wanted.generation, spec=wanted.plain),
            deadline=DEADLINE,
        )

    async def _keep_telling(self, host_id: str) -> None:
        backoff = FIRST_BACKOFF
        while self._up(host_id):
            try:
                await self.publish(host_id)
                return
            except (Unavailable, Unknown) as bad:
                _log.info("networking of host %s: %s", host_id, bad.title)
            except SkydeckError as bad:
                _log.warning("networking of host %s: %s", host_id, bad.title)
            await asyncio.sleep(backoff * (0.5 + self._runner.store.clock.random.random()))
            backoff = min(LONGEST_BACKOFF, backoff * 2)

    def _up(self, host_id: str) -> bool:
        try:
            return self._hosts.get(host_id).up
        except Unavailable:
            return False


def renew(session: Session, host_id: str) -> None:
    """A new generation of the same wishes: the host looks again, and mends what is not so."""
    row = session.get(HostNetworking, host_id, populate_existing=True)
    if row is None:
        session.add(HostNetworking(host_id=host_id, generation=1, changed_at=now(session)))
    else:
        row.generation, row.digest, row.changed_at = row.generation + 1, "", now(session)
    session.info["enqueued"] = True
    session.flush()


def _behind(session: Session) -> list[str]:
    query = select(HostNetworking.host_id).where(
        col(HostNetworking.applied) < col(HostNetworking.generation),
        col(Host.id) == col(HostNetworking.host_id),
        col(Host.state) == "up",
    )
    return list(session.execute(query).scalars())


def _wanted(session: Session, config: Config, host_id: str) -> _Wanted | None:
    row = session.get(HostNetworking, host_id, populate_existing=True)
    if row is None or row.applied == row.generation:
        return None
    plain = dump(document(session, config, host_id))
    found = digest(plain)
    return _Wanted(generation=row.generation, digest=found, plain=None if found == row.digest else plain)


def _failed(session: Session, host_id: str, error: dict[str, Any]) -> None:
    row = session.get(HostNetworking, host_id, populate_existing=True)
    if row is not None:
        row.error = error
        session.flush()
