"""Large acts by command: the plan is printed, and carried out when the object's name is typed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import Conflict, Failed
from tui.cli import output, report
from tui.cli.caller import caller
from tui.cli.commands import leave
from tui.cli.noun import Row, column
from tui.cli.options import Format
from tui.text import safe

if TYPE_CHECKING:
    from core.plans import Plan, Step

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", "--plan", help="Print what would be done, in which order, and what blocks it.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking for the name.")]

STEPS = (
    column("Phase", "phase"),
    column("Act", "act"),
    column("Object", "kind"),
    column("Name", "name"),
    column("Note", "note"),
    column("ID", "id"),
)


def carry_out(name: str, wanted: str, *, dry_run: bool, yes: bool, format: Format) -> None:
    """Print the plan `name` of an object (id or name); do it unless it is a dry run, blocked or not agreed to.

    Raises Conflict for a plan that is blocked, Failed for one that stopped half way.
    """
    from core import plans

    at = caller()
    at.json_errors = format is Format.JSON
    with at.read() as (session, ctx):
        plan = plans.plan(session, ctx, name, wanted)
    output.many(STEPS, _rows(plan), format=format)
    for one in plan.blockers:
        report.notice(f"{'blocked' if one.hard else 'note'}: {one.what}")
        if one.hint:
            report.notice(f"hint: {one.hint}")
    for kept in plan.keeps:
        report.notice(f"stays: {kept}")
    if dry_run:
        report.notice(f"nothing was done; to {plan.title}: {plan.counted or 'nothing'}")
        return
    if plan.blocked:
        first = next(one for one in plan.blockers if one.hard)
        raise Conflict(f"cannot {plan.title}: {first.what}", hint=first.hint)
    if not plan.steps:
        report.notice("nothing is to be done")
        return
    if not yes and not _typed(plan):
        raise Conflict("the name was not typed, nothing was done", hint="--yes does it without asking.")
    at.ensure_engine()
    outcome = plans.carry_out(at.store, ctx, plan, tell=_tell)
    if outcome.stopped is not None:
        step, why, hint = outcome.stopped
        raise Failed(
            f"stopped at {step.act} {step.kind} {step.name}: {why}",
            hint=f"{hint} {len(outcome.done)} of {len(plan.steps)} steps are done; the command goes on from there.",
        )
    report.notice(f"{plan.title}: done")
    leave(0)


def _rows(plan: Plan) -> list[Row]:
    phases = {phase: number for number, phase in enumerate(dict.fromkeys(step.phase for step in plan.steps), 1)}
    return [
        {
            "phase": phases[step.phase],
            "act": step.act,
            "kind": step.kind,
            "name": step.name,
            "note": step.note,
            "id": step.id,
        }
        for step in plan.steps
    ]


def _typed(plan: Plan) -> bool:
    """No terminal, no consent."""
    if not sys.stdin.isatty():
        return False
    print(f"To {safe(plan.title)}, type {safe(plan.word)}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == plan.word


def _tell(step: Step, what: str, why: str) -> None:
    if what != "running":
        report.notice(f"{step.act} {step.kind} {step.name}: {what}{f': {why}' if why else ''}")
