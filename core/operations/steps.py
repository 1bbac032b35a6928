"""How far an operation is, step by step: what its kind declares, beside what the engine noted."""

from __future__ import annotations

import dataclasses
from typing import Any

from core.operations.operations import State

WAITING = "waiting"
DONE = "done"
BEGUN = "begun"
UNDONE = "undone"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepState:
    name: str
    state: str
    """waiting, begun, done, undone; or failed, cancelled or blocked, of the one that ended it."""


def steps(kind: str, data: dict[str, Any], *, running: str, state: str) -> list[StepState]:
    """The steps of an operation in their order. `data`, `running` and `state` are the row's `data`, `step`, `state`.
    Of a kind that no longer exists only what began is known."""
    from core.operations.kinds import KINDS

    known = KINDS.get(kind)
    done, begun, undo = data.get("done", []), data.get("begun", []), data.get("undo")
    names = [step.name for step in known.steps] if known else [*begun]
    ended = (undo or {}).get("step") or (running if state in (State.FAILED, State.CANCELLED, State.BLOCKED) else "")
    behind = names[: names.index(ended)] if ended in names else []

    def stands(name: str) -> str:
        if name == ended:
            return state if state in (State.FAILED, State.CANCELLED, State.BLOCKED) else (undo or {}).get("why", BEGUN)
        if name in done:
            return DONE
        if name in begun:
            return BEGUN
        return UNDONE if undo and name in behind else WAITING

    return [StepState(name=name, state=stands(name)) for name in names]
