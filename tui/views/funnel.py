"""Why an instance has no host: which filter turned which host away, with the numbers it was judged by."""

from __future__ import annotations

from typing import Any

from tui.view import Lines


def funnel_lines(funnel: dict[str, Any]) -> Lines:
    """The funnel of a placement, as kept with its operation: {total, counts, rejected, ranked}."""
    if not funnel:
        return []
    total = funnel.get("total", 0)
    if not total:
        return [[("There is no host.", "bad"), (" Add one: skydeck host add ADDRESS", "")]]
    lines: Lines = [[(f"{total} host{'s' if total != 1 else ''} were looked at:", "head")]]
    left = total
    for name, after in funnel.get("counts", ()):
        if after != left:
            gone = left - after
            bar = "#" * round(20 * after / total)
            lines.append([(f"  {name:<24}", ""), (f"-{gone:<4}", "bad"), (f"{after:>4} left  {bar}", "")])
        left = after
    if funnel.get("rejected"):
        lines.append([(f"{'HOST':<14} {'FILTER':<10} WHY", "head")])
    for host, verdict in funnel.get("rejected", {}).items():
        lines.append([(f"{host[:14]:<14} ", ""), (f"{verdict['filter']:<10} ", "warn"), (verdict["why"], "")])
    for place, (host, weight) in enumerate(funnel.get("ranked", ())):
        first = place == 0
        lines.append([(f"{host[:14]:<14} {'passed':<10} ", "ok" if first else ""), (f"weight {weight}", "")])
    return lines


def fault(session: Any, ctx: Any, why: dict[str, Any] | None, object_id: str) -> Lines:
    """Why an instance is in error, what became of every host and what would fit; nothing for a healthy one."""
    from core.compute import why as core_why
    from tui.views.why import remedy_lines

    if not why:
        return []
    lines: Lines = [[("! ", "bad"), (why.get("title", ""), "bad")], [(f"  {why.get('hint', '')}", "")]]
    found = core_why.of_server(session, ctx, object_id)
    return [*lines, *remedy_lines(found), *funnel_lines(found.funnel), [("", "")]]
