"""Searching the console logs of many instances: which are asked for, of which hosts, and what came back."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from sqlmodel import Session, col

from core.compute.instances.table import Instance
from core.context import Context
from core.errors import Invalid
from core.hosts.hosts import Host
from core.identity.policy import allowed, authorize
from core.identity.projects import Project
from core.sql import select
from core.store import now
from hostd.spec import LONGEST_FOUND

KEPT: Final = 7 * 86_400_000_000
"""Microseconds for which hosts keep the log of an instance that was deleted."""

MOST: Final = 500
"""Lines answered altogether."""

EACH: Final = 20
"""Lines of one instance."""

LONGEST_TEXT: Final = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """One line of a console log."""

    instance_id: str
    instance: str
    project: str
    host: str
    """Empty where the asker may not know hosts."""
    deleted: bool
    number: int
    at: float | None
    """Seconds since the epoch; None when nobody saw it being written."""
    text: str
    """A stranger's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """What a search brought."""

    lines: tuple[Found, ...]
    searched: int
    """Instances whose logs were looked through."""
    more: bool
    """There were more lines than are answered."""
    silent: tuple[tuple[str, str], ...]
    """(host, why) of those that did not answer, or not in time."""


def arguments(session: Session, ctx: Context, text: str, *, deleted: bool = False) -> dict[str, Any]:
    """What the ticket of a search holds. Raises Forbidden, Invalid for a text that cannot be looked for."""
    authorize(ctx, "instance:console_log")
    if ctx.all_projects:
        authorize(ctx, "all_projects")
    if not text.strip() or "\n" in text or len(text) > LONGEST_TEXT:
        raise Invalid(f"a search is for 1 to {LONGEST_TEXT} characters of one line", hint="It is text, no pattern.")
    return {
        "text": text,
        "project_id": None if ctx.all_projects else ctx.project_id,
        "deleted": deleted,
        "hosts": allowed(ctx, "host:list"),
    }


def asked(session: Session, args: dict[str, Any]) -> dict[str, list[str]]:
    """Host id to the instances whose logs it has, newest first: those that may be searched now."""
    query = select(Instance.host_id, Instance.id).where(col(Instance.host_id).is_not(None))
    if args["project_id"] is not None:
        query = query.where(col(Instance.project_id) == args["project_id"])
    if args["deleted"]:
        since = now(session) - KEPT
        query = query.where((col(Instance.deleted_at) == 0) | (col(Instance.deleted_at) > since))
    else:
        query = query.where(col(Instance.deleted_at) == 0)
    found: dict[str, list[str]] = {}
    for host_id, uuid in session.execute(query.order_by(col(Instance.created_at).desc(), col(Instance.id))):
        found.setdefault(host_id, []).append(uuid)
    return found


def named(session: Session, args: dict[str, Any], lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The hosts' lines with the names a person knows, by name and then as they were written; MOST of them."""
    ids = {line["uuid"] for line in lines}
    rows = {
        row.id: (row, project, host)
        for row, project, host in session.execute(
            select(Instance, Project.name, Host.name)
            .join(Project, col(Project.id) == col(Instance.project_id))
            .outerjoin(Host, col(Host.id) == col(Instance.host_id))
            .where(col(Instance.id).in_(ids))
        )
    }
    answers = []
    for line in lines:
        if line["uuid"] not in rows:
            continue
        row, project, host = rows[line["uuid"]]
        answers.append(
            dataclasses.asdict(
                Found(
                    instance_id=row.id,
                    instance=row.name,
                    project=project,
                    host=(host or "") if args["hosts"] else "",
                    deleted=bool(row.deleted_at),
                    number=line["number"],
                    at=line["at"],
                    text=line["text"][:LONGEST_FOUND],
                )
            )
        )
    answers.sort(key=lambda one: (one["instance"], one["instance_id"], one["number"]))
    return answers[:MOST]


def read(answer: dict[str, Any]) -> Search:
    """What the door answered."""
    return Search(
        lines=tuple(Found(**line) for line in answer["lines"]),
        searched=int(answer["searched"]),
        more=bool(answer["more"]),
        silent=tuple((str(host), str(why)) for host, why in answer["silent"]),
    )
