"""What is told on stderr, so that stdout holds results alone: errors with their hints, funnels, notices."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from core.errors import SkydeckError
from tui.text import safe, safe_lines

FUNNEL_HOSTS = 20
"""Hosts a refused create names; a cloud may have hundreds, turned away for few reasons."""


def notice(text: str) -> None:
    """One line about what was done."""
    print(safe(text), file=sys.stderr)


def warning(text: str, *, hint: str = "") -> None:
    notice(f"warning: {text}")
    if hint:
        notice(f"hint: {hint}")


def error(title: str, *, hint: str = "") -> None:
    notice(f"error: {title}")
    if hint:
        notice(f"hint: {hint}")


def refusal(bad: SkydeckError, *, as_json: bool = False, debug: bool = False, subject: str = "") -> None:
    """An error for a person (title, hint, and the funnel of a refused create) or as JSON for a program."""
    if debug:
        # What an error says may be a stranger's words.
        print(safe_lines("".join(traceback.format_exception(bad))), file=sys.stderr)
    funnel = getattr(bad, "funnel", None) or {}
    operation = getattr(bad, "operation_id", None)
    if as_json:
        told = {**bad.to_json(), "exit_code": bad.exit_code}
        told |= {"subject": subject} if subject else {}
        told |= {"operation": operation} if operation else {}
        print(json.dumps(told), file=sys.stderr)
        return
    error(f"{subject}: {bad.title}" if subject else bad.title, hint=bad.hint)
    lines = funnel_lines(funnel)
    if len(lines) > 1:
        notice("")
        for line in lines:
            notice(f"  {line}")
    if operation:
        notice(f"kept as operation {operation}: skydeck operation show {operation[:8]}")


def funnel_lines(funnel: Mapping[str, Any]) -> list[str]:
    """host, filter, why: which filter turned which host away; and the hosts that passed, with their weights."""
    rows = [("host", "filter", "why")]
    rejected = funnel.get("rejected") or {}
    for host, by in list(rejected.items())[:FUNNEL_HOSTS]:
        rows.append((str(host), str(by["filter"]), str(by["why"])))
    rows += [(str(host), "passed", f"weight {weight}") for host, weight in funnel.get("ranked") or ()]
    if len(rows) == 1:
        return []
    first, second = (max(len(row[at]) for row in rows) for at in (0, 1))
    lines = [f"{host:<{first}}  {by:<{second}}  {why}" for host, by, why in rows]
    if len(rejected) > FUNNEL_HOSTS:
        lines.append(f"and {len(rejected) - FUNNEL_HOSTS} more hosts")
    return lines
