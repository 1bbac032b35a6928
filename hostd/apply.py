"""Convergence: one object at a time, in named steps, journalled before and after.

Applies to one object queue up in the order they came; a newer generation that arrives while an older
one waits makes the older one moot. What runs goes on when its caller's connection is gone: the journal
and the RESULT event keep the outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

import attrs

from hostd.crash import READ_ACTS, CrashPoints
from hostd.drivers import SPECS, AnyDriver, Guests, Images, Spec, Step
from hostd.events import Feed, Run
from hostd.journal import Entry, Journal, State, as_host_error
from hostd.spec import (
    ACTS,
    TRANSIENT,
    Act,
    Acted,
    Applied,
    Apply,
    BackendSpec,
    ErrorCode,
    HostError,
    ObjectKind,
    SnapshotSpec,
    VolumeSpec,
    Want,
    WireError,
    digest,
    dump,
    load,
)
from hostd.storage.volumes.volumes import Volumes

STARTS_AT_ONCE: Final = 4
"""Guests being brought up at the same time: more only compete for the processor (measured: 20 starts
take 2.3 s with four threads as with twenty)."""

T = TypeVar("T")

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class _Context:
    """StepContext for one step of one apply."""

    cache: Images
    report: Callable[[int], None]

    def progress(self, percent: int) -> None:
        self.report(percent)


class Applier:
    """Lives on the event loop; drivers' methods run through `run_driver`, the journal's through `run_journal`."""

    def __init__(
        self,
        *,
        journal: Journal,
        feed: Feed,
        drivers: Mapping[ObjectKind, AnyDriver],
        guests: Guests,
        volumes: Volumes,
        images: Images,
        crash: CrashPoints,
        run_journal: Run,
        run_driver: Run,
    ) -> None:
        self._journal = journal
        self._feed = feed
        self._drivers = drivers
        self._guests = guests
        self._volumes = volumes
        self._images = images
        self._crash = crash
        self._run_journal = run_journal
        self._run_driver = run_driver
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)
        self._locks: WeakValueDictionary[tuple[ObjectKind, str], asyncio.Lock] = WeakValueDictionary()
        self._running: dict[tuple[ObjectKind, str, int], asyncio.Task[Applied]] = {}

    def lock(self, kind: ObjectKind, uuid: str) -> asyncio.Lock:
        """Held while anything is done to the object."""
        return self._locks.setdefault((kind, uuid), asyncio.Lock())

    def busy(self, kind: ObjectKind, uuid: str) -> bool:
        """Whether an apply to the object runs or waits."""
        return any(key[:2] == (kind, uuid) for key in self._running)

    def abandon(self) -> None:
        """Drop all applies under way; their intents stay in the journal."""
        for task in self._running.values():
            task.cancel()

    async def apply(self, asked: Apply) -> Applied:
        """Converge one object, or answer what is known of this generation.

        Raises HostError: PROTOCOL, OLD_GENERATION, CONFLICT, or what a step met, with its name.
        """
        spec = load(SPECS[asked.kind], asked.spec)
        if spec.uuid != asked.uuid:
            raise HostError(ErrorCode.PROTOCOL, f"apply to {asked.uuid} carries the spec of {spec.uuid}")
        # The digest of the loaded spec: a default that one side spells out makes no difference.
        entry = await self._run_journal(self._journal.begin, asked, digest(dump(spec)))
        if entry.state is State.DONE:
            return load(Applied, entry.outcome)
        return await asyncio.shield(self._converge_once(entry, spec))

    async def replay(self, kind: ObjectKind) -> None:
        """Converge again what a dead process left as intent of this kind. What guests stand on comes before guests.

        A networking that was done is looked at as well: after a reboot of the host nothing is left of it.
        Failures are in the journal and the feed, not raised.
        """
        entries = await self._run_journal(self._journal.entries)
        again = (State.INTENT, State.DONE) if kind is ObjectKind.NETWORKING else (State.INTENT,)
        tasks = [
            self._converge_once(entry, load(SPECS[kind], entry.spec))
            for entry in entries
            if entry.kind is kind and entry.state in again and not entry.gone
        ]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _converge_once(self, entry: Entry, spec: Spec) -> asyncio.Task[Applied]:
        key = (entry.kind, entry.uuid, entry.generation)
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = _task(self._converge(entry, spec))
            task.add_done_callback(lambda _: self._running.pop(key))
        return task

    async def _converge(self, entry: Entry, spec: Spec) -> Applied:
        self._crash.at(f"{entry.kind}:intent")
        async with self.lock(entry.kind, entry.uuid):
            newest = await self._run_journal(self._journal.entry, entry.kind, entry.uuid)
            if newest is not None and newest.generation != entry.generation:
                raise HostError(
                    ErrorCode.OLD_GENERATION,
                    f"{entry.kind} {entry.uuid}: generation {newest.generation} came before {entry.generation} began",
                )
            state, outcome = await self._outcome(entry, spec)
            if entry.state is State.INTENT or state is State.FAILED or outcome["steps"]:
                gone = state is State.DONE and spec.want is Want.ABSENT
                event = await self._run_journal(self._journal.finish, entry, state, outcome, gone)
                self._feed.publish(event)
        self._crash.at(f"{entry.kind}:outcome")
        if state is State.FAILED:
            raise as_host_error(load(WireError, outcome))
        return load(Applied, outcome)

    async def _outcome(self, entry: Entry, spec: Spec) -> tuple[State, dict[str, Any]]:
        slot = self._starts if spec.want is Want.RUNNING else contextlib.nullcontext()
        try:
            async with slot:
                return State.DONE, dump(await self._carry_out(entry, spec))
        except HostError as bad:
            return State.FAILED, dump(bad.error)

    async def _carry_out(self, entry: Entry, spec: Spec) -> Applied:
        driver = self._drivers[entry.kind]
        step: Step | None = None
        try:
            seen = await self._run_driver(_look, driver, spec)
            steps = driver.plan(spec, seen)
            for step in steps:
                await self._step(entry, spec, step)
            step = None
            power, detail = await self._run_driver(driver.result, spec)
        except HostError as bad:
            name = step.name if step else bad.error.step
            raise HostError(bad.code, bad.error.message, hint=bad.error.hint, step=name) from bad
        except Exception as bad:
            log.exception("apply %s %s", entry.kind, entry.uuid)
            name = step.name if step else None
            raise HostError(ErrorCode.INTERNAL, repr(bad), hint="see hostd's log on the host", step=name) from bad
        return Applied(
            uuid=entry.uuid,
            generation=entry.generation,
            steps=tuple(done.name for done in steps),
            power=power,
            detail=detail,
        )

    async def _step(self, entry: Entry, spec: Spec, step: Step) -> None:
        loop = asyncio.get_running_loop()

        def report(percent: int) -> None:
            detail = {"generation": entry.generation, "step": step.name, "percent": percent}
            loop.call_soon_threadsafe(self._feed.progress, entry.uuid, detail)

        report(0)
        self._crash.at(f"{entry.kind}.{step.name}:before")
        driver = self._drivers[entry.kind]
        await self._run_driver(driver.execute, step, spec, _Context(cache=self._images, report=report))
        self._crash.at(f"{entry.kind}.{step.name}:after")

    async def act(self, asked: Act) -> Acted:
        """Do what is no state, once per request id.

        Raises HostError: PROTOCOL for an unknown verb, CONFLICT, or what the driver met (now or then).
        """
        if asked.verb not in ACTS:
            raise HostError(ErrorCode.PROTOCOL, f"unknown verb {asked.verb}")
        if asked.verb == "storage_seen":
            return Acted(request=asked.request, detail=await self._run_driver(_storage_seen, self._volumes, asked.args))
        if asked.verb in READ_ACTS:
            detail = await self._run_driver(self._guests.act, asked.verb, asked.uuid, asked.args)
            return Acted(request=asked.request, detail=detail)
        return await asyncio.shield(_task(self._act(asked)))

    async def _act(self, asked: Act) -> Acted:
        # The lock comes first: a repeat then waits for the first try and finds its answer.
        async with self.lock(ObjectKind.INSTANCE, asked.uuid):
            stored = await self._run_journal(self._journal.begin_act, asked)
            if stored is not None:
                return Acted(request=asked.request, detail=stored)
            self._crash.at("act:intent")
            self._crash.at(f"act.{asked.verb}:before")
            try:
                detail = await self._run_driver(self._guests.act, asked.verb, asked.uuid, asked.args)
            except HostError as bad:
                if bad.code not in TRANSIENT:
                    await self._run_journal(self._journal.finish_act, asked, State.FAILED, dump(bad.error))
                raise
            self._crash.at(f"act.{asked.verb}:after")
            await self._run_journal(self._journal.finish_act, asked, State.DONE, detail)
        self._crash.at("act:outcome")
        return Acted(request=asked.request, detail=detail)


def _look(driver: Any, spec: Spec) -> Any:
    """What is there of an object: found by its uuid, or where its spec says that it is kept."""
    return driver.look(spec) if isinstance(spec, VolumeSpec | SnapshotSpec) else driver.seen(spec.uuid)


def _storage_seen(volumes: Volumes, args: dict[str, Any]) -> dict[str, Any]:
    asked = [load(BackendSpec, backend) for backend in args.get("backends", ())]
    return {"backends": [dump(seen) for seen in volumes.seen(asked)]}


def _task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Work that goes on without its caller, who may be gone when it fails: the journal has the outcome."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
