"""`rpc_p50`, `rpc_p99`: a call over the held channel (asyncssh, forced command, hostd), against `ssh host true`."""

from __future__ import annotations

import asyncio
import subprocess
import time

from core.hosts.link import Link
from core.hosts.transport import SshTransport
from hostd.spec import Empty, Event
from tests.bench.common import quantile, record
from tests.bench.ground import Ground, ground, median, took

ROUNDS = 20
CALLS = 100
"""Of each round; then one `ssh host true`."""


def run() -> None:
    with ground() as on:
        calls, logins = asyncio.run(_measure(on))
    for name, share in (("rpc_p50", 0.5), ("rpc_p99", 0.99)):
        record(name, 1000 * quantile(calls, share), "ms", 1000 * median(logins), len(calls))


async def _measure(on: Ground) -> tuple[list[float], list[float]]:
    login = on.host.ssh("true")

    async def ignore(event: Event) -> None: ...

    transport = SshTransport(on.target)
    link = Link(transport, cloud=on.identity, term=on.take_over(), host=on.row.id, on_event=ignore)
    calls: list[float] = []
    logins: list[float] = []
    async with link:
        await link.wait_up(10)
        for _ in range(ROUNDS):
            for _ in range(CALLS):
                began = time.perf_counter()
                await link.call("ping", Empty())
                calls.append(time.perf_counter() - began)
            logins.append(took(lambda: subprocess.run(login, check=True, capture_output=True)))
    return calls, logins
