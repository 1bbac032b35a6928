"""The top line: which cloud and project, who asks, what is used of the quota, and how fresh the screen is. Pure."""

from __future__ import annotations

from tui.glance import Header
from tui.view import Cell

ROOM = 130
"""Columns from which on the top line has place for the volumes' use too."""

NARROW = 70
"""Columns below which it has place for neither the person nor any use: the pulse has them."""

STALE = 3.0
"""Seconds without an answer of the store after which the screen says so."""


def identity(cloud: str, ctx: object, *, width: int, read_only: bool = False) -> list[Cell]:
    """`skydeck local>demo admin:admin RW`."""
    project = "all projects" if getattr(ctx, "all_projects", False) else ctx.project_name  # type: ignore[attr-defined]
    role = _highest(ctx.roles)  # type: ignore[attr-defined]
    gap = "  " if width >= 100 else " "
    arrow = " > " if width >= 100 else ">"
    who = f"{gap}{ctx.user_name}:{role}" if width >= NARROW else ""  # type: ignore[attr-defined]
    return [
        ("skydeck", "head"),
        (f"{gap}{cloud}{arrow}", ""),
        (project, "key"),
        (f"{who}{gap}{'RO' if read_only or role == 'reader' else 'RW'}", ""),
    ]


def _highest(roles: frozenset[str]) -> str:
    return next((role for role in ("admin", "manager", "member", "reader") if role in roles), "none")


def usage(header: Header, *, width: int) -> list[Cell]:
    """`vcpu 62/80 ram 118/160G inst 6/10`, with gauges, and the volumes', where there is room."""
    cells: list[Cell] = []
    if width < NARROW:
        return cells
    gap = "   " if width >= 100 else " "
    ram_used, ram_limit = (value // 1024 if value >= 0 else -1 for value in header.ram_mb)
    for name, used, limit, unit in (
        ("vcpu", *header.vcpus, ""),
        ("ram", ram_used, ram_limit, "G"),
        ("inst", *header.instances, ""),
    ):
        full = limit >= 0 and used >= limit
        near = limit > 0 and used >= limit * 0.8
        cells.append((f"{name} ", "dim"))
        if width >= 120 and limit > 0:
            filled = min(8, round(8 * used / limit))
            cells.append((f"[{'#' * filled}{'-' * (8 - filled)}] ", "warn" if near else "dim"))
        shown = f"{used}/{limit}" if limit >= 0 else f"{used}/-"
        cells.append((f"{shown}{unit}{gap}", "bad" if full else "warn" if near else ""))
    if width >= ROOM:
        used, limit = header.gigabytes
        tone = "bad" if 0 <= limit <= used else "warn" if 0 < limit * 0.8 <= used else ""
        cells += [("vol ", "dim"), (f"{used}/{limit if limit >= 0 else '-'}G{gap}", tone)]
    return cells


def freshness(header: Header | None, *, silence: float, trouble: str) -> list[Cell]:
    """`live 1s`; or that the store is silent, or that nobody works."""
    if trouble or silence > STALE:
        return [(f" no answer {silence:.0f}s ", "alarm")]
    if header is None:
        return [("opening", "dim")]
    if not header.engine:
        return [("no engine", "warn")]
    return [("live ", "ok"), (f"{max(1, round(silence))}s", "")]
