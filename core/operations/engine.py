"""The engine: claims operations, runs their steps, and brings every one of them to an end.

Where an operation stands is in its row, never in this process: `data.done` lists the finished steps, `data.begun` the
started ones, `data.undo` says that what was begun is being taken back and why. A killed engine is therefore only a
pause. What each error means:

    transient, or the host cannot be reached    again later, with jittered backoff; blocked after MAX_ATTEMPTS
    a host failed it                            undo; another attempt elsewhere if the kind knows one, else failed
    somebody cancelled                          undo; cancelled
    Superseded                                  somebody else has it: drop it, write nothing
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from sqlmodel import Session, col

from core.config import Config
from core.crash import CrashPoints
from core.errors import Failed, HostFailed, SkydeckError, Superseded, Unavailable, Unknown
from core.hosts import drift
from core.network.fabric import Publisher
from core.operations import operations
from core.operations.kinds import KINDS
from core.operations.operations import HEARTBEAT, MAX_ATTEMPTS, Operation, State
from core.operations.work import Hosts, Kind, Step, Work
from core.runner import Runner
from core.sql import select

_log = logging.getLogger(__name__)

FIRST_BACKOFF = 500_000
LONGEST_BACKOFF = 30_000_000
"""Microseconds between tries: doubled each time, then jittered by a half."""

LOOK = 0.5
"""Seconds between looks for work nobody rang for: another process's commit, a backoff that ran out."""

PROGRESS_EVERY = 0.3
"""Seconds between two writes of a progress figure."""


class Cancelled(Exception):
    """Somebody asked this operation to stop. Only inside the engine."""


class Engine:
    """Runs operations until stopped. One per process."""

    def __init__(self, runner: Runner, hosts: Hosts, config: Config, *, owner: str, crash: CrashPoints) -> None:
        self._runner = runner
        self._hosts = hosts
        self._config = config
        self._owner = owner
        self.networking = Publisher(runner, hosts, config)
        self._crash = crash
        self._tasks: dict[int, tuple[str, asyncio.Task[None]]] = {}
        """Operation seq to its lane and task."""
        self._bell = asyncio.Event()
        self._stopping = False
        self._works: dict[int, Work] = {}

    def wake(self) -> None:
        """Look for work now."""
        self._bell.set()

    @property
    def busy(self) -> bool:
        return bool(self._tasks) or self.networking.busy

    def work_on(self, object_id: str) -> Work | None:
        """What this engine is doing to an object at the moment."""
        for work in self._works.values():
            if work.operation.object_id == object_id:
                return work
        return None

    async def run(self) -> None:
        """Claim and run until `stop`. What is claimed is run in tasks of their own, `host_builds` per lane."""
        while not self._stopping:
            self._bell.clear()
            while not self._stopping and await self._claim_one():
                pass
            await self._pass_on_cancels()
            await self._tell_hosts()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._bell.wait()

    async def stop(self) -> None:
        """Claim nothing more and hand back what runs, for the next engine to take up at once."""
        self._stopping = True
        self._bell.set()
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.networking.stop()

    async def _tell_hosts(self) -> None:
        try:
            await self.networking.look()
        except SkydeckError as bad:
            _log.warning("cannot look for hosts to be told of their networking: %s", bad.title)

    async def _pass_on_cancels(self) -> None:
        """Tell the running works that were asked to stop."""
        waiting = [seq for seq, work in self._works.items() if not work.cancelled.is_set()]
        if not waiting:
            return
        asked = select(col(Operation.seq)).where(col(Operation.seq).in_(waiting), col(Operation.cancel))
        try:
            found = await self._runner.read(lambda session: list(session.execute(asked).scalars()))
        except SkydeckError as bad:
            _log.warning("cannot look for cancels: %s", bad.title)
            return
        for seq in found:
            if seq in self._works:
                self._works[seq].cancelled.set()

    async def _claim_one(self) -> bool:
        lanes: dict[str, int] = {}
        for lane, _ in self._tasks.values():
            lanes[lane] = lanes.get(lane, 0) + 1
        full = frozenset(lane for lane, count in lanes.items() if count >= self._config.host_builds)
        try:
            operation = await self._runner.write(
                lambda session: operations.claim(session, owner=self._owner, lanes_full=full)
            )
        except SkydeckError as bad:
            _log.warning("cannot look for work: %s", bad.title)
            return False
        if operation is None:
            return False
        assert operation.seq is not None
        task = asyncio.create_task(self._carry_out(operation), name=f"{operation.kind} {operation.id}")
        self._tasks[operation.seq] = (operation.lane, task)
        task.add_done_callback(lambda _: self._done(operation))
        return True

    def _done(self, operation: Operation) -> None:
        assert operation.seq is not None
        self._tasks.pop(operation.seq, None)
        self.wake()

    # ------------------------------------------------------------------ one operation

    async def _carry_out(self, operation: Operation) -> None:
        """One claim of one operation, to its end or to the next try."""
        assert operation.seq is not None
        work = Work(
            operation=operation,
            runner=self._runner,
            hosts=self._hosts,
            config=self._config,
            networking=self.networking,
        )
        self._works[operation.seq] = work
        beat = asyncio.create_task(self._heartbeat(work))
        try:
            self._crash.at(f"{operation.kind}:claimed")
            await self._attempt(KINDS[operation.kind], work)
        except Superseded:
            _log.info("operation %s was taken over", operation.id)
        except asyncio.CancelledError:
            if self._stopping:
                await self._hand_back(work)
            raise
        except SkydeckError as bad:
            _log.error("operation %s could not be written: %s", operation.id, bad.title)
        except Exception:  # noqa: BLE001
            # The loop's edge: whatever broke is kept on the operation, and the engine goes on.
            _log.exception("operation %s broke the engine's rules", operation.id)
            with contextlib.suppress(SkydeckError):
                await self._block(work, Failed("an error in skydeck itself", hint=f"See {self._config.log_file}."))
        finally:
            beat.cancel()
            del self._works[operation.seq]

    async def _attempt(self, kind: Kind, work: Work) -> None:
        operation = work.operation
        try:
            if "undo" not in work.data:
                try:
                    if operation.cancel:
                        raise Cancelled
                    await self._forward(kind, work)
                    await self._end(kind, work, State.SUCCEEDED)
                    return
                except Cancelled:
                    await self._turn_back(work, "cancelled", None)
                except HostFailed as bad:
                    if bad.transient:
                        raise
                    await self._turn_back(work, "failed", bad)
                except (Unknown, Unavailable):
                    raise
                except SkydeckError as bad:
                    await self._turn_back(work, "failed", bad)
            await self._undo(kind, work)
            await self._after_undo(kind, work)
        except (HostFailed, Unknown, Unavailable) as bad:
            await self._later(work, bad)

    async def _forward(self, kind: Kind, work: Work) -> None:
        total = sum(step.weight for step in kind.steps)
        behind = 0
        for step in kind.steps:
            if step.name not in work.data.get("done", []):
                await self._begin(kind, work, step, progress=100 * behind // total)
                self._report_for(work, behind=behind, step=step, total=total)
                self._crash.at(f"{work.operation.kind}.{step.name}:before")
                await self._run_step(work, step)
                self._crash.at(f"{work.operation.kind}.{step.name}:after")
                work.note(done=[*work.data.get("done", []), step.name])
            behind += step.weight

    async def _run_step(self, work: Work, step: Step) -> None:
        if not step.interruptible:
            await step.run(work)
            return
        running = asyncio.ensure_future(step.run(work))
        stop = asyncio.ensure_future(work.cancelled.wait())
        try:
            await asyncio.wait({running, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                raise Cancelled
            running.result()
        finally:
            stop.cancel()
            running.cancel()
            await asyncio.gather(stop, running, return_exceptions=True)

    async def _begin(self, kind: Kind, work: Work, step: Step, *, progress: int) -> None:
        """One transaction notes that the step before is done and that this one has begun; and honours a cancel."""
        earlier = work.data.get("begun", [])
        begun = [name for name in earlier if name != step.name] + [step.name]
        # Tries are counted per step.
        work.operation.attempt = work.operation.attempt if step.name in earlier else 0
        attempt = work.operation.attempt

        def note(session: Session) -> bool:
            operations.write(session, work.operation, step=step.name, progress=progress, attempt=attempt)
            kind.show(session, work, step)
            wanted = select(col(Operation.cancel)).where(col(Operation.seq) == work.operation.seq)
            return bool(session.execute(wanted).scalar_one())

        work.note(begun=begun)
        if await work.write(note):
            raise Cancelled

    def _report_for(self, work: Work, *, behind: int, step: Step, total: int) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        pending: set[asyncio.Task[None]] = set()

        async def write(percent: int) -> None:
            with contextlib.suppress(SkydeckError):
                await self._runner.write(lambda session: operations.write(session, work.operation, progress=percent))

        def report(percent: int) -> None:
            nonlocal last
            if loop.time() - last < PROGRESS_EVERY:
                return
            last = loop.time()
            task = loop.create_task(write((100 * behind + step.weight * percent) // total))
            pending.add(task)
            task.add_done_callback(pending.discard)

        work.report = report

    @staticmethod
    def _step_writer(work: Work, step: str) -> Callable[[Session], None]:
        return lambda session: operations.write(session, work.operation, step=step)

    async def _turn_back(self, work: Work, why: str, error: SkydeckError | None) -> None:
        """From here on what was begun is undone, also by the next engine."""
        begun = work.data.get("begun", [])
        step = begun[-1] if begun else ""
        work.note(undo={"why": why, "step": step, "error": error.to_json() if error else None})
        await work.write(lambda session: None)

    async def _undo(self, kind: Kind, work: Work) -> None:
        """Take back what was begun, in reverse, and only that."""
        for step in reversed(kind.steps):
            if step.name not in work.data.get("begun", []):
                continue
            if step.undo is not None:
                self._crash.at(f"{work.operation.kind}.{step.name}:undo")
                await step.undo(work)
            begun = [name for name in work.data["begun"] if name != step.name]
            done = [name for name in work.data.get("done", []) if name != step.name]
            work.note(begun=begun, done=done)
            await work.write(self._step_writer(work, f"undo {step.name}"))

    async def _after_undo(self, kind: Kind, work: Work) -> None:
        undo = work.data["undo"]
        if undo["why"] == "cancelled":
            await self._end(kind, work, State.CANCELLED)
            return
        if kind.elsewhere is not None:
            elsewhere = kind.elsewhere
            rest = {key: value for key, value in work.data.items() if key != "undo"}

            def again(session: Session) -> bool:
                work.operation.data = rest
                if not elsewhere(session, work, undo["error"]):
                    return False
                operations.write(session, work.operation, data=work.operation.data, attempt=0)
                operations.put_back(session, work.operation, delay=0, error=undo["error"])
                session.info["enqueued"] = True
                return True

            if await self._runner.write(again):
                return
            work.note(undo=undo)
        await self._end(kind, work, State.FAILED, error=undo["error"])

    async def _end(self, kind: Kind, work: Work, state: State, *, error: dict[str, Any] | None = None) -> None:
        def finish(session: Session) -> None:
            operations.write(session, work.operation, data=work.data)
            if state is State.SUCCEEDED:
                kind.complete(session, work)
                drift.resolve(session, host_id=work.operation.lane, object_id=work.operation.object_id)
            elif state is State.CANCELLED:
                kind.cancelled(session, work)
            else:
                kind.failed(session, work, error or {})
            operations.finish(session, work.operation, state, error=error)

        self._crash.at(f"{work.operation.kind}:ending")
        await self._runner.write(finish)
        self._crash.at(f"{work.operation.kind}:ended")

    # ------------------------------------------------------------------ not now

    async def _later(self, work: Work, bad: HostFailed | Unknown | Unavailable) -> None:
        """Try again after a while; blocked, with the reason, when that has been tried often enough."""
        attempt = work.operation.attempt + 1
        if attempt >= MAX_ATTEMPTS:
            await self._block(work, bad)
            return
        dice = self._runner.store.clock.random
        delay = int(min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**attempt) * (0.5 + dice.random()))

        def write(session: Session) -> None:
            operations.write(session, work.operation, attempt=attempt, data=work.data)
            operations.put_back(session, work.operation, delay=delay, error=bad.to_json())

        await self._runner.write(write)

    async def _block(self, work: Work, bad: SkydeckError) -> None:
        def write(session: Session) -> None:
            error = bad.to_json()
            cause = f"{bad.hint.rstrip('.')}. " if bad.hint else ""
            error["hint"] = f"{cause}When the cause is gone: skydeck operation retry {work.operation.id[:8]}"
            operations.write(session, work.operation, state=State.BLOCKED, owner=None, error=error, data=work.data)

        await self._runner.write(write)

    async def _hand_back(self, work: Work) -> None:
        with contextlib.suppress(SkydeckError):
            await self._runner.write(lambda session: operations.put_back(session, work.operation, delay=0, error=None))

    async def _heartbeat(self, work: Work) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT / 1_000_000)
            try:
                await self._runner.write(lambda session: operations.renew(session, work.operation))
            except Superseded:
                _log.warning("operation %s: the lease was lost", work.operation.id)
                return
            except SkydeckError as bad:
                _log.warning("operation %s: no heartbeat: %s", work.operation.id, bad.title)


def labels() -> list[str]:
    """Every crash point of the engine, in the order one operation would meet them."""
    found = []
    for name, kind in KINDS.items():
        found.append(f"{name}:claimed")
        for step in kind.steps:
            found += [f"{name}.{step.name}:before", f"{name}.{step.name}:after"]
        found += [f"{name}:ending", f"{name}:ended"]
    return found
