"""What hosts heard guests say on their consoles, kept as events of the instances.

A guest says what it likes, as often as it likes. Its host tells the same of it less and less often (hostd/logs); this
is the second lock on the door: no more than so many events of one instance, whatever a host sends.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import func
from sqlmodel import Session, col

from core import cloud, events
from core.compute.instances.table import Instance
from core.context import Context
from core.events import Event
from core.sql import select
from core.store import now

MOST: Final = 12
"""Events of one instance and pattern in WITHIN."""

WITHIN: Final = 3_600_000_000
"""Microseconds."""

LONGEST: Final = 200
"""Characters of a guest's line that are kept."""

ACTIONS: Final[dict[str, str]] = {
    "panic": "instance.console_panic",
    "oom": "instance.console_oom",
    "filesystem": "instance.console_filesystem",
    "login": "instance.console_login",
}
"""The pattern a host names, to the event's action."""

BAD: Final = frozenset(ACTIONS.values()) - {"instance.console_login"}
"""Those that a person should look at."""

WORDS: Final[dict[str, str]] = {
    "instance.console_panic": "kernel panic",
    "instance.console_oom": "out of memory",
    "instance.console_filesystem": "file system or disk error",
    "instance.console_login": "is up: it asks for a login",
}


def take(session: Session, host_id: str, uuid: str, detail: dict[str, Any]) -> bool:
    """Keep what a host heard of one of its guests. Answers whether it was kept."""
    action = ACTIONS.get(str(detail.get("pattern")))
    instance = session.get(Instance, uuid)
    if action is None or instance is None or instance.host_id != host_id or instance.deleted_at:
        return False
    recent = session.execute(
        select(func.count()).where(
            col(Event.object_id) == uuid, col(Event.action) == action, col(Event.at) > now(session) - WITHIN
        )
    ).scalar_one()
    if recent >= MOST:
        return False
    events.record(
        session,
        cloud.system_context(session),
        action,
        kind="instance",
        id=instance.id,
        name=instance.name,
        project_id=instance.project_id,
        after={"line": str(detail.get("line", ""))[:LONGEST], "times": int(detail.get("times", 1))},
    )
    return True


def newest(session: Session) -> int:
    """The number of the newest event there is."""
    return session.execute(select(func.max(Event.id))).scalar_one() or 0


def since(session: Session, ctx: Context, number: int, *, limit: int = 20) -> list[Event]:
    """What was heard after event `number`, oldest first: of the project, or of all when the context spans them."""
    query = select(Event).where(
        col(Event.id) > number, col(Event.action).in_(ACTIONS.values()), col(Event.object_kind) == "instance"
    )
    if not ctx.all_projects:
        query = query.where(col(Event.project_id) == ctx.project_id)
    return list(session.execute(query.order_by(col(Event.id)).limit(limit)).scalars())
