"""What stands on a page that says why: the cause, what became of every host, and the smallest change that would fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui.verbs import Row
from tui.view import Lines
from tui.views.funnel import funnel_lines

if TYPE_CHECKING:
    from core.compute.scheduler.remedies import Remedy
    from core.compute.why import Why


def of_object(session: Any, ctx: Any, kind: str, row: Row) -> Lines:
    """Of a row of any kind; nothing when nothing is known to be wrong."""
    from core.compute import why
    from core.operations import operations

    if kind == "instance":
        return why_lines(why.of_server(session, ctx, row["id"]))
    if kind == "operation":
        return why_lines(why.of_operation(session, ctx, operations.find(session, ctx, row["id"])))
    fault = row.get("fault") or row.get("error") or {}
    if isinstance(fault, dict) and fault:
        return [[("! ", "bad"), (str(fault.get("title", "")), "bad")], [(f"  {fault.get('hint', '')}", "")]]
    if row.get("state_reason"):
        return [[("! ", "bad"), (str(row["state_reason"]), "bad")]]
    if row.get("disabled_reason"):
        return [[("= ", "warn"), (f"disabled: {row['disabled_reason']}", "warn")]]
    return []


def why_lines(found: Why) -> Lines:
    """All that is known of it."""
    if not found.title:
        return [[("+ ", "ok"), (f"nothing is wrong: {found.name} is {found.state}", "")]]
    at = f" at {found.step}" if found.step else ""
    lines: Lines = [
        [(f"{found.name} is {found.state}{at}", "head")],
        [("! ", "bad"), (found.title, "bad")],
        [(f"  {found.hint}", "")],
    ]
    if remedied := remedy_lines(found):
        lines += [[("", "")], *remedied]
    if found.funnel:
        lines += [[("", "")], *funnel_lines(found.funnel)]
    if found.operation:
        lines += [[("", "")], [(f"operation {found.operation}", "dim")]]
    return lines


def remedy_lines(found: Why) -> Lines:
    """The smallest change that would fit, and up to two others; or what is all in the way."""
    if found.remedies:
        first, *others = found.remedies
        lines: Lines = [[(_head(first), "head")], *_remedy(first)]
        if others:
            lines += [[("or", "dim")], *(line for one in others for line in _remedy(one))]
        return lines
    if found.obstacles:
        lines = [[(f"No single change would do. {found.nearest} is nearest, and needs all of these:", "head")]]
        return lines + [[(f"  {name:<22}", "warn"), (why, "")] for name, why in found.obstacles]
    return []


def _head(remedy: Remedy) -> str:
    return "It would fit now" if _fits_now(remedy) else "The smallest change that would fit"


def _fits_now(remedy: Remedy) -> bool:
    from core.compute.scheduler.remedies import Means

    return remedy.means is Means.NOTHING


def _remedy(remedy: Remedy) -> Lines:
    if _fits_now(remedy):
        return [[("> ", "ok"), (f"{remedy.host} would take it", ""), (f"   {remedy.act}", "dim")]]
    return [
        [("> ", "ok"), (remedy.what, ""), (f"  then {remedy.host} takes it", "dim")],
        [(f"    {remedy.act}", "dim")],
    ]
