"""What a plan is made of: steps in phases, and what blocks it. Plain values, but for the verb each step calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One verb on one object."""

    phase: int
    """Steps of a phase run side by side; the next phase begins when all of them have ended."""
    act: str
    """`delete`, `stop`, `detach`, …"""
    kind: str
    """The noun: `server`, `volume`, …"""
    id: str
    name: str
    note: str = ""
    """What is worth knowing: its status, what goes with it."""
    run: Callable[[Any, Any], object] = dataclasses.field(compare=False)
    """(write session, context): the verb. Answers the operation it enqueued, several, or anything else."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blocker:
    """What stands in the way."""

    what: str
    hint: str
    hard: bool = True
    """Whether the plan cannot be carried out at all; else it is only worth knowing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A large act, laid out."""

    name: str
    """A key of PLANS."""
    object_id: str
    word: str
    """What is typed to agree: the object's name."""
    title: str
    """`delete project web and all it owns`."""
    steps: tuple[Step, ...]
    blockers: tuple[Blocker, ...] = ()
    keeps: tuple[str, ...] = ()
    """What stays though one might think it goes."""

    @property
    def blocked(self) -> bool:
        return any(one.hard for one in self.blockers)

    @property
    def typed(self) -> bool:
        """Whether the name is typed to agree; else a yes will do."""
        return len(self.steps) > 1 or self.name == "project.delete"

    @property
    def shape(self) -> tuple[tuple[str, str, str], ...]:
        """What it does to which objects: two plans of the same shape are the same plan."""
        return tuple((step.act, step.kind, step.id) for step in self.steps)

    @property
    def counted(self) -> str:
        """`delete 3 servers, detach 1 volume`, in their order."""
        tally: dict[tuple[str, str], int] = {}
        for step in self.steps:
            tally[step.act, step.kind] = tally.get((step.act, step.kind), 0) + 1
        return ", ".join(f"{act} {count} {kind}{'s' if count != 1 else ''}" for (act, kind), count in tally.items())
