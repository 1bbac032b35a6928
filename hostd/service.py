"""The calls themselves, free of sockets: what a controller may ask and what the answers mean.

`server` carries them over the wire, `fake` offers them in memory; both are this class.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

import attrs

from hostd import __version__
from hostd.apply import Applier
from hostd.cache import ImageCache
from hostd.crash import CrashPoints
from hostd.drivers import AnyDriver, ConsolePaths, Guests, Happened, Networking
from hostd.events import Feed, Run
from hostd.host import Machine
from hostd.journal import Journal, stale
from hostd.logs import reading, search
from hostd.metrics import Sampler
from hostd.peers import Peers
from hostd.spec import (
    PEER_ACTS,
    PROTOCOL,
    STATUS,
    Accel,
    Ack,
    Act,
    Acted,
    Applied,
    Apply,
    Connect,
    DiskSeen,
    DomainSeen,
    Empty,
    ErrorCode,
    Event,
    EventKind,
    Hello,
    HelloReply,
    HostError,
    InstanceSpec,
    Known,
    LogRead,
    LogsFound,
    Measured,
    Metadata,
    Metrics,
    ObjectKind,
    Observation,
    Observe,
    Prune,
    Pruned,
    ReadLog,
    SearchLogs,
    Sync,
    Synced,
    Trace,
    Traced,
    Watch,
    Way,
    dump,
    load,
)
from hostd.storage.volumes.volumes import Volumes
from hostd.streams.disks import Disks

PROBING: Final = Accel(mode="tcg", reason="probing kvm")

PROBE_RETRY: Final = 10.0
"""Seconds before the accelerator is probed again when libvirtd did not answer."""

PROBE_QUICK: Final = 1.0
"""Seconds: an answer that came sooner (no device, no QEMU) may change within a boot and costs nothing to ask again."""

MUTATING: Final = frozenset({"sync", "apply", "act", "ack", "prune", "receive", "console", "connect", "write"})
"""Calls that a stale controller may not make. A console is typed into."""

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Parts:
    """What the service is put together from."""

    journal: Journal
    images: ImageCache
    guests: Guests
    networking: Networking
    volumes: Volumes
    """What `storage` and the guests share."""
    storage: tuple[AnyDriver, ...]
    """The drivers of volumes, snapshots and exports."""
    machine: Machine
    crash: CrashPoints
    clock: Callable[[], float]
    run_journal: Run
    """Keeps the order of its calls."""
    run_driver: Run
    disks: Disks
    """What `read` and `write` open."""
    sampler: Sampler
    """Started and stopped by whoever put this together."""


@attrs.frozen
class Session:
    """One controller's connection, from its hello on."""

    term: int


READER: Final = -1
"""The term of a session that may change nothing: older than any."""


class HostService:
    """One host. Lives on the event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._journal = parts.journal
        self.images: Final = parts.images
        self.disks: Final = parts.disks
        self._feed = Feed(parts.journal, run=parts.run_journal, clock=parts.clock)
        self._applier = Applier(
            journal=parts.journal,
            feed=self._feed,
            drivers={driver.kind: driver for driver in (parts.guests, parts.networking, *parts.storage)},
            guests=parts.guests,
            volumes=parts.volumes,
            images=parts.images,
            crash=parts.crash,
            run_journal=parts.run_journal,
            run_driver=parts.run_driver,
        )
        self._peers = Peers(parts.images, clock=parts.clock)
        self._uuid = parts.machine.uuid()
        self._boot_id = parts.machine.boot_id()
        self._term = int(parts.journal.meta("term") or 0)
        self._accel = PROBING
        self._drivers_up: asyncio.Future[None] | None = None
        self._networking_again = asyncio.Event()
        """The document of before was looked at: until then a look would find missing what ends with this process."""
        self._background: set[asyncio.Task[None]] = set()
        self._calls: Final[dict[str, Callable[[Any], Awaitable[Any]]]] = {
            "ping": self._ping,
            "sync": self._sync,
            "apply": self._apply,
            "act": self._act,
            "observe": self._observe,
            "ack": self._ack,
            "prune": self._prune,
            "trace": self._trace,
            "metrics": self._metrics,
            "read_log": self._read_log,
            "search_logs": self._search_logs,
        }

    # ------------------------------------------------------------------------ life

    def begin(self) -> None:
        """Start the drivers, replay what was interrupted and learn the accelerator, all in the background."""
        self._drivers_up = asyncio.get_running_loop().create_future()
        self._spawn(self._begin())

    async def stop(self) -> None:
        """Stop the drivers and close the journal. Guests, and applies in threads, run on."""
        self.abandon()
        await self._parts.run_driver(self._parts.guests.stop)
        await self._parts.run_driver(self._parts.networking.stop)
        await self._parts.run_journal(self._journal.close)

    def heard(self, what: Happened) -> None:
        """Something happened that nobody asked for: number, keep and tell it."""
        self._spawn(self._feed.record(what))

    def abandon(self) -> None:
        """Drop everything in the middle, as a killed process does. The journal knows what was begun."""
        for task in self._background:
            task.cancel()
        self._applier.abandon()

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()

        def happened(what: Happened) -> None:
            loop.call_soon_threadsafe(self.heard, what)

        def metadata_of(uuid: str) -> Metadata | None:
            return asyncio.run_coroutine_threadsafe(self._metadata_of(uuid), loop).result()

        assert self._drivers_up is not None
        try:
            await self._parts.run_driver(self._parts.networking.start, happened, metadata_of)
            await self._parts.run_driver(self._parts.guests.start, happened)
        except Exception as bad:
            # The daemon stays up to say why nothing works: a dead one could only be missed.
            log.exception("drivers did not start")
            self._drivers_up.set_exception(HostError(ErrorCode.INTERNAL, f"hostd's drivers did not start: {bad!r}"))
            self._drivers_up.exception()
            return
        self._drivers_up.set_result(None)
        self._spawn(self._learn_accel())
        try:
            await self._applier.replay(ObjectKind.NETWORKING)
        finally:
            self._networking_again.set()
        # Exports copy what guests have, the others are what guests stand on.
        for kind in (ObjectKind.VOLUME, ObjectKind.SNAPSHOT, ObjectKind.INSTANCE, ObjectKind.EXPORT):
            await self._applier.replay(kind)

    async def _learn_accel(self) -> None:
        cached = await self._parts.run_journal(self._journal.meta, "accel")
        known = json.loads(cached) if cached else {}
        if known.get("boot_id") == self._boot_id:
            accel = load(Accel, known["accel"])
        else:
            began = self._parts.clock()
            accel = await self._probe()
            if accel.mode == "kvm" or self._parts.clock() - began > PROBE_QUICK:
                kept = json.dumps({"boot_id": self._boot_id, "accel": dump(accel)})
                await self._parts.run_journal(self._journal.set_meta, "accel", kept)
        await self._parts.run_driver(self._parts.guests.use, accel)
        self._accel = accel
        await self._feed.record(Happened(kind=EventKind.HOST, uuid=None, detail={"what": "accel", **dump(accel)}))

    async def _probe(self) -> Accel:
        while True:
            try:
                return await self._parts.run_driver(self._parts.guests.probe)
            except HostError as bad:
                self._accel = Accel(mode="tcg", reason=f"probing kvm: {bad}")
                await asyncio.sleep(PROBE_RETRY)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._background.discard(task)
            if not task.cancelled() and (bad := task.exception()):
                log.error("in the background", exc_info=bad)

        task.add_done_callback(done)

    async def _ready(self) -> None:
        assert self._drivers_up is not None, "begin() comes first"
        await asyncio.shield(self._drivers_up)

    # ------------------------------------------------------------------------ the calls

    async def hello(self, hello: Hello) -> tuple[Session, HelloReply]:
        """Admit a controller. Raises HostError: PROTOCOL, WRONG_HOST, WRONG_CLOUD, STALE_CONTROLLER."""
        if hello.protocol != PROTOCOL:
            raise HostError(
                ErrorCode.PROTOCOL,
                f"this host speaks protocol {PROTOCOL}, the controller {hello.protocol}",
                hint="run `skydeck host add` again for this host: it brings hostd to the controller's version",
            )
        if hello.host not in (None, self._uuid):
            raise HostError(
                ErrorCode.WRONG_HOST,
                f"this is host {self._uuid}, not {hello.host}",
                hint="the address leads to another machine than the one enrolled",
            )
        if hello.purpose == STATUS:
            session = Session(READER)
        else:
            session = Session(hello.term)
            self._term = await self._parts.run_journal(self._journal.admit_controller, hello.cloud, hello.term)
        journal_id = await self._parts.run_journal(self._journal.meta, "journal_id")
        assert journal_id is not None
        return session, HelloReply(
            protocol=PROTOCOL,
            host=self._uuid,
            hostname=self._parts.machine.hostname(),
            boot_id=self._boot_id,
            journal_id=journal_id,
            term=self._term,
            version=__version__,
            accel=self._accel,
            versions=self._parts.machine.versions() | self._parts.guests.versions(),
            last_seq=await self._parts.run_journal(self._journal.last_seq),
        )

    def check(self, session: Session, call: str) -> None:
        """Refuse a mutating call on a connection that a newer controller has outdated.

        Raises HostError(STALE_CONTROLLER).
        """
        if call in MUTATING and session.term < self._term:
            raise stale(session.term, self._term)

    async def call(self, session: Session, name: str, body: Any) -> Any:
        """Answer one of spec.CALLS except hello, watch and the streams. Raises HostError."""
        self.check(session, name)
        return await self._calls[name](body)

    def watch(self, body: Watch) -> AsyncGenerator[Event, None]:
        """Stored events after `from_seq`, then live ones, without end."""
        return self._feed.follow(body.from_seq)

    async def console(self, uuid: str) -> ConsolePaths:
        """Where a guest's serial console is. Raises HostError(NOT_FOUND)."""
        await self._ready()
        return await self._parts.run_driver(self._parts.guests.console, uuid)

    async def dial(self, asked: Connect) -> socket.socket:
        """A connected socket into a guest. Raises HostError: NOT_FOUND, BAD_STATE, NETWORK."""
        await self._ready()
        return await self._parts.run_driver(self._dial, asked)

    def _dial(self, asked: Connect) -> socket.socket:
        if asked.way is Way.TCP:
            return self._parts.networking.dial(asked.network, asked.address, asked.port)
        path = self._parts.guests.display(asked.uuid)
        display = socket.socket(socket.AF_UNIX)
        try:
            display.connect(str(path))
        except OSError as bad:
            display.close()
            raise HostError(ErrorCode.BAD_STATE, f"the guest's display does not answer: {bad}") from bad
        return display

    async def _read_log(self, body: ReadLog) -> LogRead:
        return await self._parts.run_driver(self._log, body)

    def _log(self, body: ReadLog) -> LogRead:
        log = self._parts.guests.log(body.uuid)
        if log is None:
            raise HostError(ErrorCode.NOT_FOUND, f"no instance {body.uuid} on this host")
        return reading.read(log, lines=body.lines, after=body.after)

    async def _search_logs(self, body: SearchLogs) -> LogsFound:
        return await self._parts.run_driver(search.search, body, self._parts.guests.log)

    async def _ping(self, body: Empty) -> Empty:
        return body

    async def _apply(self, body: Apply) -> Applied:
        await self._ready()
        return await self._applier.apply(body)

    async def _act(self, body: Act) -> Acted:
        if body.verb in PEER_ACTS:
            return Acted(
                request=body.request, detail=await self._parts.run_driver(self._peers.act, body.verb, body.args)
            )
        await self._ready()
        return await self._applier.act(body)

    async def _ack(self, body: Ack) -> Empty:
        await self._parts.run_journal(self._journal.acknowledge, body.seq)
        return Empty()

    async def _prune(self, body: Prune) -> Pruned:
        return await self._parts.run_driver(self.images.prune, body.keep_bytes, body.digests, body.keep)

    async def _metadata_of(self, uuid: str) -> Metadata | None:
        """What an instance was last asked to be told about itself; None for one that is not, or no longer, here."""
        entry = await self._parts.run_journal(self._journal.entry, ObjectKind.INSTANCE, uuid)
        return None if entry is None or entry.gone else load(InstanceSpec, entry.spec).metadata

    async def _trace(self, body: Trace) -> Traced:
        await self._ready()
        return await self._parts.run_driver(self._parts.networking.trace, body)

    async def _metrics(self, body: Metrics) -> Measured:
        return await self._parts.run_driver(self._parts.sampler.measured, body)

    async def _sync(self, body: Sync) -> Synced:
        await self._ready()
        here = await self._parts.run_journal(self._journal.generations)
        listed = {known.uuid for known in body.objects if known.kind is ObjectKind.INSTANCE}
        behind = tuple(
            Known(kind=known.kind, uuid=known.uuid, generation=here.get((known.kind, known.uuid), 0))
            for known in body.objects
            if here.get((known.kind, known.uuid), 0) < known.generation
        )
        domains = await self._domains(stats=False)
        unlisted = [domain.uuid for domain in domains if domain.owned and domain.uuid not in listed]
        quarantined = await asyncio.gather(*map(self._quarantine, unlisted))
        return Synced(behind=behind, quarantined=tuple(uuid for uuid in quarantined if uuid))

    async def _domains(self, *, stats: bool) -> tuple[DomainSeen, ...]:
        domains, _, problems = await self._parts.run_driver(_observe_guests, self._parts.guests, stats)
        if problems and not domains:
            raise HostError(ErrorCode.LIBVIRT_DOWN, problems[0])
        return domains

    async def _quarantine(self, uuid: str) -> str | None:
        if self._applier.busy(ObjectKind.INSTANCE, uuid):
            return None  # being deleted, or asked for since the list was made
        async with self._applier.lock(ObjectKind.INSTANCE, uuid):
            await self._parts.run_driver(self._parts.guests.quarantine, uuid)
        return uuid

    async def _observe(self, body: Observe) -> Observation:
        await self._ready()
        await self._networking_again.wait()
        parts = self._parts
        guests, networking, images, capacity, generations = await asyncio.gather(
            parts.run_driver(_observe_guests, parts.guests, body.stats),
            parts.run_driver(parts.networking.observe),
            parts.run_driver(self.images.images),
            parts.run_driver(parts.machine.capacity),
            parts.run_journal(self._journal.generations),
        )
        domains, disks, guest_problems = guests
        return Observation(
            at=parts.clock(),
            capacity=capacity,
            accel=self._accel,
            domains=tuple(
                attrs.evolve(domain, generation=generations.get((ObjectKind.INSTANCE, domain.uuid)))
                for domain in domains
            ),
            disks=disks,
            images=images,
            networks=networking.networks,
            links=networking.links,
            networking=attrs.evolve(
                networking.networking, generation=generations.get((ObjectKind.NETWORKING, self._uuid))
            ),
            problems=(*guest_problems, *networking.problems),
        )


def _observe_guests(
    guests: Guests, stats: bool
) -> tuple[tuple[DomainSeen, ...], tuple[DiskSeen, ...], tuple[str, ...]]:
    # Executors pass positional arguments only.
    return guests.observe(stats=stats)
