"""What each host sees of the backends it shall reach: asked for with every look at it, and kept as the rows that
placement reads."""

from __future__ import annotations

import logging
from typing import Any, Final, Protocol

from sqlalchemy import delete
from sqlmodel import Session, col

from core.errors import HostFailed
from core.hosts.table import Host
from core.runner import Runner
from core.store import clock_of, now
from core.volumes import backends
from core.volumes.tables import Backend, BackendHost
from hostd.spec import Act, Acted, BackendSeen, BackendSpec, dump, load

_log = logging.getLogger(__name__)

DEADLINE: Final = 60.0
"""Seconds a host gets: it answers what it has after ten, a backend that hangs is told as one that does."""


class Asked(Protocol):
    """A host, as far as it is asked here."""

    id: str
    name: str

    async def call(self, call: str, body: Any, *, deadline: float) -> Any: ...


async def look(runner: Runner, host: Asked) -> None:
    """Ask a host for its backends and keep what it says. Raises what `call` raises, but for a host that does not know
    the question yet: it reaches nothing."""
    request, specs = await runner.read(lambda session: _question(session, host.id))
    if specs:
        body = Act(
            request=request, verb="storage_seen", uuid=host.id, args={"backends": [dump(spec) for spec in specs]}
        )
        try:
            acted: Acted = await host.call("act", body, deadline=DEADLINE)
        except HostFailed as bad:
            _log.warning("host %s cannot tell of its storage: %s", host.name, bad.title)
            return
        seen = [load(BackendSeen, plain) for plain in acted.detail["backends"]]
    else:
        seen = []
    await runner.write(lambda session: _take_in(session, host.id, seen))


def _question(session: Session, host_id: str) -> tuple[str, list[BackendSpec]]:
    """(a request id of its own: every look is a new one, the backends)."""
    wanted = backends.of_host(session, host_id)
    return clock_of(session).uuid(), [backends.spec_of(backend) for backend in wanted]


def _take_in(session: Session, host_id: str, seen: list[BackendSeen]) -> None:
    """Rows of backends that the host shall not reach any more go."""
    if session.get(Host, host_id) is None:
        return
    told = [one for one in seen if session.get(Backend, one.uuid) is not None]
    gone = col(BackendHost.backend_id).not_in([one.uuid for one in told])
    session.execute(delete(BackendHost).where(col(BackendHost.host_id) == host_id, gone))
    at = now(session)
    for one in told:
        session.merge(
            BackendHost(
                backend_id=one.uuid,
                host_id=host_id,
                reachable=one.reachable,
                detail=one.detail,
                hint=one.hint,
                total_bytes=one.total,
                free_bytes=one.free,
                capabilities=list(one.capabilities),
                volumes=[dump(volume) for volume in one.volumes],
                seen_at=at,
            )
        )
    session.flush()
