"""`skydeck verify`: the invariants of the design, checked over the database and what every host really has.

Each check is a function from what was gathered to the violations it finds, so that each can be read next to its
sentence. A host that cannot be observed is itself reported: nothing is assumed of it.

facts         what is looked at
guests, networking, volumes    the checks
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from sqlalchemy import func
from sqlmodel import col

from core import cloud, door, serve
from core.config import Config
from core.errors import SkydeckError
from core.hosts.hosts import Host
from core.runner import Runner
from core.sql import select
from core.store import Store
from core.verify import guests, networking, volumes
from core.verify.facts import Facts, Violation, gather
from hostd.spec import Observation, load

__all__ = ("CHECKS", "Facts", "Violation", "gather", "verify")


def verify(store: Store, config: Config) -> list[Violation]:
    """Every violation found, in order of invariants. Starts the engine when none runs: it holds the links."""
    return asyncio.run(_verify(store, config))


async def _verify(store: Store, config: Config) -> list[Violation]:
    runner = Runner(store)
    try:
        found: list[Violation] = []
        seen: dict[str, Observation] = {}
        if await runner.read(lambda session: session.execute(select(func.count(col(Host.id)))).scalar_one()):
            seen, found = await _observe(runner, config)
        facts = await runner.read(lambda session: gather(session, config, seen))
        for check in CHECKS:
            found.extend(check(facts))
        return sorted(found, key=lambda violation: violation.invariant)
    finally:
        runner.close()


async def _observe(runner: Runner, config: Config) -> tuple[dict[str, Observation], list[Violation]]:
    await asyncio.to_thread(serve.ensure, config, wait=True)
    ticket = await runner.write(lambda session: door.ticket(session, cloud.system_context(session), purpose="observe"))
    try:
        answers = await door.observe(config, ticket)
    except SkydeckError as bad:
        return {}, [Violation(invariant=0, title=f"hosts could not be observed: {bad.title}", evidence=bad.hint)]
    seen: dict[str, Observation] = {}
    blind: list[Violation] = []
    for host_id, answer in answers.items():
        if "error" in answer:
            blind.append(Violation(invariant=0, title=f"host {host_id} could not be observed: {answer['error']}"))
        else:
            seen[host_id] = load(Observation, answer)
    return seen, blind


CHECKS: tuple[Callable[[Facts], Iterator[Violation]], ...] = (
    guests.one_writer,
    volumes.one_guest_per_volume,
    volumes.attachments,
    guests.one_owner,
    networking.addresses,
    guests.within_capacity,
    guests.claims_while_placed,
    guests.nothing_lost,
    guests.generations,
    guests.data_kept,
    volumes.stored,
    guests.chains,
    guests.escaped,
    guests.as_wanted,
    networking.networking_as_wanted,
)
"""In the order of the design's list."""
