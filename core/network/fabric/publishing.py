"""Telling hosts: one document at a time per host, always the newest, for as long as it takes.

What the database wants is a generation per host; what is missing is seen by comparing two numbers, so nothing is
queued and nothing is lost in a crash. Many changes while a host is being told become one document.

A change that forgot to touch its hosts would be missed by that; so each host's document is also built anew when it
comes up, and every RECHECK, and compared with what it has confirmed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any, NamedTuple, Protocol

import attrs
from sqlmodel import Session, col

from core.config import Config
from core.errors import HostFailed, SkydeckError, Unavailable, Unknown
from core.hosts.table import Host
from core.network.fabric.document import document
from core.network.fabric.settling import confirm, refused
from core.network.fabric.table import HostNetworking
from core.network.fabric.touching import grow, touch_host
from core.runner import Runner
from core.sql import select
from hostd.spec import Apply, ErrorCode, NetworkingSpec, ObjectKind, Observation, Observe, digest, dump

_log = logging.getLogger(__name__)

DEADLINE = 60.0
"""Seconds until an answer is given up as unknown."""

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 30.0
"""Seconds between tries for a host that refuses its document."""

RECHECK = 600.0
"""Seconds between two comparisons of what a host has confirmed with what would be built now."""

MOST_TRIES = 5
"""Documents sent in a row when each is overtaken."""

_OVERTAKEN = frozenset({ErrorCode.CONFLICT, ErrorCode.OLD_GENERATION})
"""Another engine, another version of this program, or a database older than the host gave the generation away."""


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
    lacks: dict[str, Any] | None


class _Told(NamedTuple):
    """How far a host that is up has been told."""

    host_id: str
    behind: bool


class Publisher:
    """Every host's document, kept up to date. One per engine."""

    def __init__(self, runner: Runner, hosts: Callers, config: Config) -> None:
        self._runner = runner
        self._hosts = hosts
        self._config = config
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._checked: dict[str, float] = {}
        """Host to when its document was last compared, in the event loop's time; only while it is up."""

    @property
    def busy(self) -> bool:
        return bool(self._tasks)

    async def look(self) -> None:
        """Start telling every connected host whose document is newer than what it has confirmed, and comparing for
        those that have just come up."""
        now = asyncio.get_running_loop().time()
        rows = [row for row in await self._runner.read(_up) if self._up(row.host_id)]
        for host_id in self._checked.keys() - {row.host_id for row in rows}:
            del self._checked[host_id]
        for host_id, behind in rows:
            if host_id in self._tasks:
                continue
            if behind:
                self._start(host_id, self._keep_telling(host_id))
            elif now >= self._checked.get(host_id, -RECHECK) + RECHECK:
                self._start(host_id, self._compare(host_id))

    def _start(self, host_id: str, work: Any) -> None:
        task = asyncio.create_task(work, name=f"networking of {host_id}")
        self._tasks[host_id] = task
        task.add_done_callback(functools.partial(self._ended, host_id))

    def _ended(self, host_id: str, task: asyncio.Task[None]) -> None:
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
            for _ in range(MOST_TRIES):
                wanted = await self._runner.read(lambda session: _wanted(session, self._config, host_id))
                if wanted is None:
                    return
                try:
                    if wanted.plain is not None:
                        await self._send(host_id, wanted.generation, wanted.plain)
                except HostFailed as bad:
                    if bad.code not in _OVERTAKEN:
                        await self._refused(host_id, bad)
                        raise
                    await self._overtake(host_id, wanted.generation)
                    continue
                await self._confirm(host_id, wanted)
                return
        raise HostFailed(
            "its networking was changed by somebody else each time it was told",
            hint="Is another engine running?",
            transient=True,
        )

    async def _send(self, host_id: str, generation: int, plain: dict[str, Any]) -> None:
        await self._hosts.get(host_id).call(
            "apply",
            Apply(kind=ObjectKind.NETWORKING, uuid=host_id, generation=generation, spec=plain),
            deadline=DEADLINE,
        )

    async def _confirm(self, host_id: str, wanted: _Wanted) -> None:
        await self._runner.write(
            lambda session: confirm(session, host_id, wanted.generation, wanted.digest, lacks=wanted.lacks)
        )
        self._checked[host_id] = asyncio.get_running_loop().time()

    async def _refused(self, host_id: str, bad: HostFailed) -> None:
        if bad.code == ErrorCode.STALE_CONTROLLER:
            return  # another engine is in charge now, and this is not the host's fault
        error = bad.to_json()
        await self._runner.write(lambda session: refused(session, host_id, error, lasting=not bad.transient))

    async def _overtake(self, host_id: str, generation: int) -> None:
        """The host has a generation that was not ours to give, or this one with another document: go beyond it."""
        seen: Observation = await self._hosts.get(host_id).call("observe", Observe(stats=False), deadline=DEADLINE)
        has = (seen.networking.generation if seen.networking else None) or generation
        await self._runner.write(lambda session: renew(session, host_id, beyond=has))

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

    async def _compare(self, host_id: str) -> None:
        """Touch the host when its document would be another one today."""
        self._checked[host_id] = asyncio.get_running_loop().time()
        if await self._runner.read(lambda session: _stale(session, self._config, host_id)):
            _log.warning("host %s was not told of all changes of its networking: telling it now", host_id)
            await self._runner.write(lambda session: touch_host(session, host_id))

    def _up(self, host_id: str) -> bool:
        try:
            return self._hosts.get(host_id).up
        except Unavailable:
            return False


def renew(session: Session, host_id: str, *, beyond: int = 0) -> None:
    """A new generation of the same wishes, beyond one that the host has: it looks again, and mends what is not so."""
    grow(session, [host_id], digest=False)
    row = session.get(HostNetworking, host_id, populate_existing=True)
    assert row is not None  # just grown
    row.generation = max(row.generation, beyond + 1)
    session.flush()


def _up(session: Session) -> list[_Told]:
    query = select(HostNetworking.host_id, HostNetworking.generation, HostNetworking.applied).where(
        col(Host.id) == col(HostNetworking.host_id), col(Host.state) == "up"
    )
    return [
        _Told(host_id, behind=applied < generation) for host_id, generation, applied in session.execute(query).all()
    ]


def _wanted(session: Session, config: Config, host_id: str) -> _Wanted | None:
    row = session.get(HostNetworking, host_id, populate_existing=True)
    if row is None or row.applied == row.generation:
        return None
    spec = document(session, config, host_id)
    plain = dump(spec)
    found = digest(plain)
    return _Wanted(
        generation=row.generation,
        digest=found,
        plain=None if found == row.digest else plain,
        lacks=_lacks(session, spec),
    )


def _lacks(session: Session, spec: NetworkingSpec) -> dict[str, Any] | None:
    """What the host is without that its document needs."""
    host = session.get(Host, spec.uuid)
    if host is None:
        return None
    shared = [network for network in spec.networks if network.peers]
    if spec.underlay.vtep is None and shared:
        return HostFailed(
            f"host {host.name} has no tunnel endpoint, so that its guests reach none on other hosts",
            hint=f"skydeck host set --vtep ADDRESS {host.name}",
        ).to_json()
    missing = sorted({network.physnet for network in spec.networks if network.physnet} - spec.underlay.physnets.keys())
    if missing:
        return HostFailed(
            f"host {host.name} has no way to physical network {', '.join(missing)}",
            hint=f"skydeck host set --physnet {missing[0]}=INTERFACE {host.name}",
        ).to_json()
    return None


def _stale(session: Session, config: Config, host_id: str) -> bool:
    """Whether what the host has confirmed is not what it would be told today."""
    row = session.get(HostNetworking, host_id, populate_existing=True)
    if row is None or row.applied != row.generation:
        return False
    return digest(dump(document(session, config, host_id))) != row.digest
