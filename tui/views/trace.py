"""A followed packet, as lines: each hop, what it is told and what is there, and where the packet stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.view import Lines

if TYPE_CHECKING:
    from core.network.tracing import Followed

MARKS = {"pass": ("+", "ok"), "drop": ("!", "bad"), "missing": ("!", "bad"), "unknown": ("?", "warn")}


def trace_lines(followed: Followed) -> Lines:
    """One line per hop; below it what is configured and what is there, where they say more than the verdict."""
    lines: Lines = [[(f"  {'HOST':<12} {'HOP':<10} {'NAME':<20} {'VERDICT':<8} {'PACKETS':>9}", "head")]]
    host = ""
    for step in followed.steps:
        hop = step.hop
        mark, tone = MARKS[hop.verdict.value]
        shown = "" if step.host == host else step.host
        host = step.host
        packets = "" if hop.packets is None else str(hop.packets)
        lines.append(
            [
                (f"{mark} ", tone),
                (f"{shown[:12]:<12} {hop.kind[:10]:<10} {hop.name[:20]:<20} ", ""),
                (f"{hop.verdict.value:<8} ", tone),
                (f"{packets:>9}", "dim"),
            ]
        )
        if hop.configured and hop.configured != hop.seen:
            lines.append([("               wanted ", "dim"), (hop.configured, "")])
        if hop.seen:
            lines.append([("               there  ", "dim"), (hop.seen, "" if hop.configured == hop.seen else tone)])
    return [*lines, [("", "")], *ending(followed)]


def ending(followed: Followed) -> Lines:
    """Whether it gets through, and where it does not and what to do."""
    stopped = followed.stopped
    if stopped is not None:
        hop = stopped.hop
        lines: Lines = [[("! ", "bad"), (f"it stops on {stopped.host} at the {hop.kind} {hop.name}", "bad")]]
        return [*lines, [(f"  {hop.hint}", "")]] if hop.hint else lines
    if any(step.hop.verdict.value == "unknown" for step in followed.steps):
        return [[("? ", "warn"), ("nothing was found that stops it, but not every hop could be looked at", "warn")]]
    return [[("+ ", "ok"), ("nothing on the way stops it", "ok")]]
