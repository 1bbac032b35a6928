"""Another controller's view of a host: a link of one's own, beside the engine's."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from core import cloud as clouds
from core.cloud import Cloud as CloudRow
from core.hosts.enroll import ssh_target
from core.hosts.link import Link
from core.hosts.transport import SshTransport
from core.sql import select
from hostd.spec import Event
from tests.e2e.cloud import Cloud


@contextlib.asynccontextmanager
async def raw_link(cloud: Cloud, host: str, *, term: int | None = None) -> AsyncIterator[Link]:
    """A link to a host that is up; as the present engine speaks, or as one of another term."""
    row = cloud.host(host)
    with cloud.store.read() as session:
        identity = clouds.identity(session)
        now = session.execute(select(CloudRow.term)).scalar_one()
    target = ssh_target(cloud.config, address=row.address, port=row.port, host_key=row.host_key)

    async def ignore(event: Event) -> None: ...

    link = Link(SshTransport(target), cloud=identity, term=now if term is None else term, host=row.id, on_event=ignore)
    async with link:
        yield link
