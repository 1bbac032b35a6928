"""Carrying a plan out: phase after phase, each step by its verb, until one is refused or fails.

What was done stays done and recorded; the rest is left as it was. Made again, the plan goes on from there.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from itertools import groupby

from sqlmodel import col

from core.context import Context
from core.errors import Conflict, NotFound, SkydeckError
from core.operations.operations import Operation, State
from core.plans.model import Plan, Step
from core.plans.planning import plan as make
from core.sql import select
from core.store import Store

LOOK = 0.1
"""Seconds between two looks at the store's version while operations are waited for."""

Tell = Callable[[Step, str, str], None]
"""(step, "running" | "done" | "refused" | "failed", why): as it goes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    done: tuple[Step, ...]
    stopped: tuple[Step, str, str] | None = None
    """(the step at which it stopped, why, the next act); None when all was done."""
    interrupted: bool = False
    """Somebody left: what runs goes on, the later phases do not begin."""


def carry_out(
    store: Store, ctx: Context, plan: Plan, *, tell: Tell = lambda *_: None, leave: threading.Event | None = None
) -> Outcome:
    """Do it, and wait for the operations of each phase. Blocks; `leave` ends the waiting.

    Raises Conflict, with nothing done, when the plan is blocked or is not the same any more as when it was agreed to.
    """
    leave = leave or threading.Event()
    with store.read() as session:
        now = make(session, ctx, plan.name, plan.object_id)
    if now.shape != plan.shape or now.title != plan.title:
        raise Conflict(
            f"{plan.word} changed since the plan was made", hint="Nothing was done. Look at the plan as it is now."
        )
    if now.blocked:
        first = next(one for one in now.blockers if one.hard)
        raise Conflict(f"cannot {plan.title}: {first.what}", hint=first.hint)
    done: list[Step] = []
    for _, phase in groupby(now.steps, key=lambda step: step.phase):
        waiting: dict[str, Step] = {}
        for step in phase:
            try:
                with store.write() as session:
                    started = _operations(step.run(session, ctx))
            except NotFound:
                started = []  # it went with something before it
            except SkydeckError as bad:
                tell(step, "refused", bad.title)
                return Outcome(done=tuple(done), stopped=(step, bad.title, bad.hint))
            if started:
                waiting |= dict.fromkeys(started, step)
                tell(step, "running", "")
            else:
                done.append(step)
                tell(step, "done", "")
        stopped = _wait(store, waiting, done, tell, leave)
        if leave.is_set() and waiting:
            return Outcome(done=tuple(done), interrupted=True)
        if stopped is not None:
            return Outcome(done=tuple(done), stopped=stopped)
    return Outcome(done=tuple(done))


def _operations(answer: object) -> list[str]:
    found = answer if isinstance(answer, list) else [answer]
    return [one.id for one in found if isinstance(one, Operation)]


def _wait(
    store: Store, waiting: dict[str, Step], done: list[Step], tell: Tell, leave: threading.Event
) -> tuple[Step, str, str] | None:
    """Until every operation has ended or needs a person. Takes those that ended out of `waiting`."""
    stopped: tuple[Step, str, str] | None = None
    seen: int | None = None
    while waiting and not leave.is_set():
        version = store.version()
        if version == seen:
            leave.wait(LOOK)
            continue
        seen = version
        query = select(Operation.id, Operation.state, Operation.error).where(col(Operation.id).in_(list(waiting)))
        with store.read() as session:
            states = session.execute(query).all()
        for id, state, error in states:
            if state in (State.READY, State.RUNNING):
                continue
            step = waiting.pop(id)
            if state == State.SUCCEEDED:
                if step not in waiting.values():
                    done.append(step)
                    tell(step, "done", "")
                continue
            why = str((error or {}).get("title") or f"the operation was {state}")
            tell(step, "failed", why)
            stopped = stopped or (step, why, str((error or {}).get("hint") or f"skydeck operation show {id[:8]}"))
    return stopped
