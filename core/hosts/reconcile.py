"""What hosts tell, taken into the database: that they are up, what they have, what their guests do by themselves.

The power state in the database always follows the host. What an instance *is* follows by nova's table (semantics C),
with one difference: a guest that somebody started behind our back is a finding, never stopped by force.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from sqlmodel import Session, col

from core import cloud, events
from core.compute.instances import states
from core.compute.instances.table import Instance
from core.consoles import heard
from core.errors import SkydeckError
from core.hosts import drift, storage
from core.hosts.pool import HostHandle
from core.hosts.table import Host
from core.images import caching
from core.network import fabric
from core.network.fabric import HostNetworking
from core.operations import operations
from core.runner import Runner
from core.sql import select
from core.store import now
from hostd.spec import (
    DomainSeen,
    Event,
    EventKind,
    HelloReply,
    Known,
    ObjectKind,
    Observation,
    PowerState,
    Sync,
    Synced,
)

_log = logging.getLogger(__name__)

_STOPS = {
    states.ACTIVE: (PowerState.SHUTDOWN, PowerState.CRASHED, PowerState.SUSPENDED),
    states.PAUSED: (PowerState.SHUTDOWN, PowerState.CRASHED),
}
"""What makes an instance SHUTOFF, by what it was."""

SYNC_DEADLINE = 60.0


class Reconciler:
    """core.hosts.pool.Listener, and the periodic look."""

    def __init__(
        self,
        runner: Runner,
        *,
        interval: float,
        progress: Callable[[str, int], None],
        wake: Callable[[], None],
    ) -> None:
        """`progress` is told (instance id, percent) of a running apply; `wake` rings for the engine."""
        self._runner = runner
        self._interval = interval
        self._progress = progress
        self._wake = wake
        self._looking: dict[str, asyncio.Lock] = {}

    # ------------------------------------------------------------------ from the pool

    async def connected(self, host: HostHandle, hello: HelloReply) -> None:
        """Up: remember what it said of itself, tell it what it shall hold, look at what it has, wake what waited."""
        fresh = await self._runner.write(lambda session: _up(session, host.id, hello))
        if fresh:
            _log.info("host %s has a new journal: its generations are unknown", host.name)
        try:
            known = await self._runner.read(lambda session: _known(session, host.id))
            try:
                synced: Synced = await host.call("sync", Sync(objects=tuple(known)), deadline=SYNC_DEADLINE)
            finally:
                host.introduced()
            for uuid in synced.quarantined:
                _log.warning("host %s: guest %s belongs to nobody and was quarantined", host.name, uuid)
            await self.look(host)
        except SkydeckError as bad:
            _log.warning("host %s: %s", host.name, bad.title)
        self._wake()
        await self._look_at_storage(host)

    async def disconnected(self, host_id: str, reason: str) -> None:
        await self._runner.write(lambda session: _down(session, host_id, reason))

    async def event(self, host: HostHandle, event: Event) -> None:
        """One event; returns when it is kept."""
        if event.kind is EventKind.PROGRESS:
            if event.uuid is not None:
                self._progress(event.uuid, int(event.detail.get("percent", 0)))
            return
        if event.kind is EventKind.CONSOLE and event.uuid is not None:
            heard_of = event.uuid
            await self._runner.write(lambda session: heard.take(session, host.id, heard_of, event.detail))
        if event.kind is EventKind.LIFECYCLE and event.uuid is not None:
            uuid = event.uuid
            power = PowerState(event.detail["power"])
            if await self._runner.read(lambda session: _contradicts(session, host.id, uuid, power)):
                # An event may be older than what has been done since. Only what is there now counts.
                await self.look(host, reason=str(event.detail.get("reason", "")), stats=False)
        if event.kind is EventKind.HOST:
            await self.look(host)
            await self._look_at_storage(host)
            if event.detail.get("what") == "libvirt_up":
                await self._runner.write(lambda session: operations.revive(session, host.id))
                self._wake()
        await self._runner.write(lambda session: _took(session, host.id, event.seq))

    # ------------------------------------------------------------------ the periodic look

    async def run(self, hosts: Callable[[], list[HostHandle]]) -> None:
        """Look at every connected host every `interval` seconds."""
        while True:
            await asyncio.sleep(self._interval)
            for host in hosts():
                if host.up:
                    with contextlib.suppress(SkydeckError):
                        await self.look(host)
                    await self._look_at_storage(host)

    async def _look_at_storage(self, host: HostHandle) -> None:
        """What it sees of its backends, taken in. A host that cannot say so now is asked again next time."""
        try:
            await storage.look(self._runner, host)
        except SkydeckError as bad:
            _log.warning("host %s: its storage was not seen: %s", host.name, bad.title)

    async def look(self, host: HostHandle, *, reason: str = "seen by a look", stats: bool = True) -> Observation:
        """Observe one host, take it in, and compare; `reason` is why a guest may have changed. Raises what
        `HostHandle.observe` raises."""
        async with self._looking.setdefault(host.id, asyncio.Lock()):
            stamps = await self._runner.read(lambda session: drift.stamp(session, host.id))
            seen = await host.observe(stats=stats)
            host.knows_images({image.digest for image in seen.images if image.verified})
            await self._runner.write(lambda session: _take_in(session, host.id, seen, stamps, reason=reason))
            return seen


# ---------------------------------------------------------------------------- transactions


def _up(session: Session, host_id: str, hello: HelloReply) -> bool:
    """Answers whether the host's journal is another than before."""
    host = session.get(Host, host_id, populate_existing=True)
    if host is None:
        return False
    fresh = bool(host.journal_id) and host.journal_id != hello.journal_id
    if fresh:
        host.event_seq = 0
    if fresh or session.get(HostNetworking, host_id) is None:
        fabric.renew(session, host_id)
    if host.state != "up":
        ctx = cloud.system_context(session)
        events.record(session, ctx, "host.up", kind="host", id=host.id, name=host.name)
    host.state, host.state_reason = "up", ""
    host.boot_id, host.journal_id = hello.boot_id, hello.journal_id
    host.accel, host.versions, host.seen_at = hello.accel.reason, hello.versions, now(session)
    operations.revive(session, host_id)
    session.flush()
    return fresh


def _down(session: Session, host_id: str, reason: str) -> None:
    host = session.get(Host, host_id, populate_existing=True)
    if host is None or (host.state == "down" and host.state_reason == reason):
        return
    if host.state != "down":
        ctx = cloud.system_context(session)
        events.record(session, ctx, "host.down", kind="host", id=host.id, name=host.name, after={"reason": reason})
    host.state, host.state_reason = "down", reason
    session.flush()
    fabric.host_gone(session, host_id)


def _took(session: Session, host_id: str, seq: int) -> None:
    host = session.get(Host, host_id, populate_existing=True)
    if host is not None and seq > host.event_seq:
        host.event_seq = seq
        session.flush()


def _known(session: Session, host_id: str) -> list[Known]:
    """Everything the host shall hold, with the newest generation given out."""
    instances = session.execute(
        select(Instance.id, Instance.generation).where(col(Instance.host_id) == host_id, col(Instance.deleted_at) == 0)
    ).all()
    networking = session.get(HostNetworking, host_id, populate_existing=True)
    known = [Known(kind=ObjectKind.INSTANCE, uuid=uuid, generation=generation) for uuid, generation in instances]
    if networking is not None:
        known.append(Known(kind=ObjectKind.NETWORKING, uuid=host_id, generation=networking.generation))
    return known


def _live(session: Session, host_id: str, uuid: str) -> Instance | None:
    return session.execute(
        select(Instance)
        .where(col(Instance.id) == uuid, col(Instance.host_id) == host_id, col(Instance.deleted_at) == 0)
        .execution_options(populate_existing=True)
    ).scalar_one_or_none()


def _contradicts(session: Session, host_id: str, uuid: str, power: PowerState) -> bool:
    """Whether the event says something else than the database, which no operation is about to explain."""
    instance = _live(session, host_id, uuid)
    return instance is not None and instance.task_state is None and instance.power_state != states.POWER[power]


def _follow(session: Session, host_id: str, domain: DomainSeen, *, before: int, reason: str) -> int:
    """Semantics C for one guest, unless something was done to it since it was looked at (`before`). Answers when it has
    changed last, this aside."""
    instance = _live(session, host_id, domain.uuid)
    if instance is None or instance.updated_at != before:
        return before
    if instance.task_state is not None or operations.open_on(session, instance.id):
        return before
    power = states.POWER[domain.power]
    if instance.power_state == power:
        return before
    was = {"vm_state": instance.vm_state, "power_state": instance.power_state}
    instance.power_state = power
    if domain.power in _STOPS.get(instance.vm_state, ()):
        # Its user, or its host's end, switched it off.
        instance.vm_state, instance.want = states.STOPPED, "stopped"
    instance.updated_at = now(session)
    session.flush()
    events.record(
        session,
        cloud.system_context(session),
        "instance.power_sync",
        kind="instance",
        id=instance.id,
        name=instance.name,
        project_id=instance.project_id,
        before=was,
        after={"vm_state": instance.vm_state, "power_state": power, "reason": reason},
    )
    return instance.updated_at


def _take_in(session: Session, host_id: str, seen: Observation, stamps: dict[str, int], *, reason: str) -> None:
    host = session.get(Host, host_id, populate_existing=True)
    if host is None:
        return
    host.observed(seen, at=now(session))
    session.flush()
    caching.observed(session, host_id, seen.images)
    for domain in seen.domains:
        if domain.owned and domain.uuid in stamps:
            stamps[domain.uuid] = _follow(session, host_id, domain, before=stamps[domain.uuid], reason=reason)
    _follow_networking(session, host_id, seen, before=stamps.get(host_id))
    drift.compare(session, host, seen, stamps)


def _follow_networking(session: Session, host_id: str, seen: Observation, *, before: int | None) -> None:
    """Tell the host its networking anew when it is not where it has confirmed to be (`before`, from before the look),
    or where nobody sent it: a journal, or a database, was set back."""
    row = session.get(HostNetworking, host_id, populate_existing=True)
    if row is None or seen.networking is None:
        return
    has = seen.networking.generation or 0
    lost = has < row.applied == before and row.digest != ""
    if lost or has > row.generation:
        _log.warning("networking of host %s is at generation %d, and not %d", host_id, has, row.applied)
        fabric.renew(session, host_id, beyond=has)
