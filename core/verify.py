"""`skydeck verify`: the invariants of the design, checked over the database and what every host really has.

Each check is a function from what was gathered to the violations it finds, so that each can be read next to its
sentence. A host that cannot be observed is itself reported: nothing is assumed of it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from sqlalchemy import func
from sqlmodel import Session, col

from core import cloud, door, serve
from core.compute.instances import states
from core.compute.instances.table import Instance
from core.config import Config
from core.errors import SkydeckError
from core.hosts.hosts import RESOURCES, Claim, Host
from core.network import fabric
from core.network.fabric import HostNetworking
from core.network.tables import HOST_GATEWAY, FixedIP, FloatingIP, Port, Router, Subnet
from core.operations.operations import OPEN, Operation, State
from core.runner import Runner
from core.sql import select
from core.store import Store, now
from core.volumes import stored
from core.volumes.attachments import ATTACHED, ATTACHING, AVAILABLE, DETACHING, IN_USE, RESERVED
from core.volumes.stored import Stored
from core.volumes.tables import Volume, VolumeAttachment
from hostd.spec import Observation, PowerState, digest, dump, load

SETTLED: Final = 60_000_000
"""Microseconds after which a change has come to every living host."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Violation:
    """Something that must always hold, and does not."""

    invariant: int
    """Its number in the design, 1 to 11; 0: it could not be checked."""
    title: str
    evidence: str = ""


class Address(NamedTuple):
    """A fixed IP with what it belongs to."""

    network_id: str
    ip: str
    port_network: str | None
    """None when the port does not exist."""
    subnet_network: str
    cidr: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything the checks look at, gathered at one moment."""

    instances: dict[str, Instance]
    """Not deleted."""
    hosts: dict[str, Host]
    claims: list[Claim]
    operations: list[Operation]
    """Open ones."""
    creates: dict[str, str]
    """Accepted instance.create: operation id to instance id."""
    known_instances: frozenset[str]
    """Ids of every instance row, deleted ones too."""
    addresses: list[Address]
    networks_on: frozenset[tuple[str, str]]
    """(network id, host id) of what each host shall carry."""
    networking: dict[str, HostNetworking]
    """By host."""
    told: dict[str, str]
    """Host to the digest of what it would be told of its networking now."""
    floating: list[FloatingIP]
    ways_out: frozenset[tuple[str, str | None]]
    """(router id, external network id) of every router."""
    gateways: list[tuple[str, str, bool]]
    """(host id, external network id, whether the host needs it) of addresses that guests are seen as."""
    seen: dict[str, Observation]
    volumes: dict[str, Volume]
    """Not deleted."""
    attachments: list[VolumeAttachment]
    """Living ones."""
    pools: list[Stored]
    """Backends as they were seen last, against the volumes that should be there."""
    busy: frozenset[str]
    """Objects with an open operation: what a host has of them may differ for now."""
    at: int
    """When this was gathered, in microseconds since the epoch."""


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


def gather(session: Session, config: Config, seen: dict[str, Observation]) -> Facts:
    """The database's side of the facts, in one snapshot."""

    def rows(table: Any, *where: Any) -> list[Any]:
        return list(session.execute(select(table).where(*where)).scalars())

    addresses = session.execute(
        select(FixedIP.network_id, FixedIP.ip, Port.network_id, Subnet.network_id, Subnet.cidr)
        .join(Subnet, col(Subnet.id) == col(FixedIP.subnet_id))
        .outerjoin(Port, col(Port.id) == col(FixedIP.port_id))
    ).all()
    networking = {row.host_id: row for row in rows(HostNetworking)}
    gateways = session.execute(
        select(Port.device_id, Port.network_id).where(col(Port.device_owner) == HOST_GATEWAY)
    ).all()
    needed = {host: fabric.gateways_needed(session, host) for host in {host for host, _ in gateways}}
    open_operations = rows(Operation, col(Operation.state).in_(OPEN))
    creates = session.execute(
        select(Operation.id, Operation.object_id).where(
            col(Operation.kind) == "instance.create", col(Operation.lane) != ""
        )
    ).all()
    documents = {host: fabric.document(session, config, host) for host in networking}
    return Facts(
        instances={row.id: row for row in rows(Instance, col(Instance.deleted_at) == 0)},
        hosts={row.id: row for row in rows(Host)},
        claims=rows(Claim),
        operations=open_operations,
        creates=dict(creates),
        known_instances=frozenset(session.execute(select(Instance.id)).scalars()),
        addresses=[Address(*row) for row in addresses],
        networks_on=frozenset((network.uuid, host) for host, spec in documents.items() for network in spec.networks),
        networking=networking,
        told={host: digest(dump(spec)) for host, spec in documents.items()},
        floating=rows(FloatingIP),
        ways_out=frozenset((row.id, row.external_network_id) for row in rows(Router)),
        gateways=[(host, network, network in needed[host]) for host, network in gateways],
        volumes={row.id: row for row in rows(Volume, col(Volume.deleted_at) == 0)},
        attachments=rows(VolumeAttachment, col(VolumeAttachment.detached_at) == 0),
        pools=stored.compare(session),
        seen=seen,
        busy=frozenset(operation.object_id for operation in open_operations),
        at=now(session),
    )


# ---------------------------------------------------------------------------- the checks


def _one_writer(facts: Facts) -> Iterator[Violation]:
    """1. No disk is open read-write by two QEMUs anywhere."""
    running: dict[str, list[str]] = {}
    for host_id, seen in facts.seen.items():
        for domain in seen.domains:
            if domain.owned and domain.power in (PowerState.RUNNING, PowerState.PAUSED):
                running.setdefault(domain.uuid, []).append(_name(facts, host_id))
    for uuid, names in running.items():
        if len(names) > 1:
            yield Violation(invariant=1, title=f"guest {uuid} runs on {len(names)} hosts", evidence=", ".join(names))


def _one_guest_per_volume(facts: Facts) -> Iterator[Violation]:
    """1, of volumes: one that is not made to be shared is in one guest that runs, anywhere."""
    having: dict[str, list[str]] = {}
    for host_id, seen in facts.seen.items():
        for domain in seen.domains:
            if domain.owned and domain.power in (PowerState.RUNNING, PowerState.PAUSED):
                instance = facts.instances.get(domain.uuid)
                who = f"{instance.name if instance else domain.uuid} on {_name(facts, host_id)}"
                for volume_id in domain.volumes or ():
                    having.setdefault(volume_id, []).append(who)
    for volume_id, guests in having.items():
        volume = facts.volumes.get(volume_id)
        if len(guests) > 1 and (volume is None or not volume.multiattach):
            title = f"volume {_volume(facts, volume_id)} is in {len(guests)} guests"
            yield Violation(invariant=1, title=title, evidence=", ".join(sorted(guests)))


_MOVING: Final = (RESERVED, ATTACHING, DETACHING)


def _attachments(facts: Facts) -> Iterator[Violation]:
    """1 and 11, of attachments: a volume is in-use while somebody has it, and is available only when nobody has; what
    holds it is there, and is at work while it moves."""
    held: dict[str, list[VolumeAttachment]] = {}
    for one in facts.attachments:
        held.setdefault(one.volume_id, []).append(one)
        instance, volume = facts.instances.get(one.instance_id), facts.volumes.get(one.volume_id)
        called = f"volume {_volume(facts, one.volume_id)}"
        if instance is None or volume is None:
            gone = "a server" if instance is None else "a volume"
            yield Violation(invariant=11, title=f"{called} is attached, and {gone} of the two is gone")
            continue
        if volume.status == AVAILABLE and one.status in (ATTACHED, DETACHING):
            yield Violation(invariant=1, title=f"{called} is available while {instance.name} has it")
        if instance.id in facts.busy or volume.id in facts.busy:
            continue
        if one.status in _MOVING:
            title = f"{called} is {one.status} for {instance.name}, and nothing works on it"
            yield Violation(invariant=11, title=title)
        seen = facts.seen.get(instance.host_id or "")
        domain = next((guest for guest in seen.domains if guest.uuid == instance.id), None) if seen else None
        has = domain.volumes if domain is not None else None
        if one.status == ATTACHED and has is not None and volume.id not in has:
            title = f"{called} is attached to {instance.name}, whose guest does not have it"
            yield Violation(invariant=11, title=title, evidence=_name(facts, instance.host_id))
    for volume in facts.volumes.values():
        if volume.status == IN_USE and volume.id not in held:
            yield Violation(invariant=11, title=f"volume {volume.name or volume.id} is in-use, and nobody has it")
        if len(held.get(volume.id, ())) > 1 and not volume.multiattach:
            yield Violation(invariant=1, title=f"volume {volume.name or volume.id} is attached more than once")
    yield from _taken_volumes(facts)


def _taken_volumes(facts: Facts) -> Iterator[Violation]:
    """11: no guest has a volume that the database does not say it has."""
    told = {(one.instance_id, one.volume_id) for one in facts.attachments}
    for host_id, seen in facts.seen.items():
        for domain in seen.domains:
            instance = facts.instances.get(domain.uuid)
            if instance is None or instance.id in facts.busy or instance.host_id != host_id:
                continue
            for volume_id in domain.volumes or ():
                if (instance.id, volume_id) not in told:
                    title = f"{instance.name} has volume {_volume(facts, volume_id)}, which is not attached to it"
                    yield Violation(invariant=11, title=title, evidence=_name(facts, host_id))


def _stored(facts: Facts) -> Iterator[Violation]:
    """8 and 11, of volumes: what the database has is on its backend, and nothing else is there."""
    for pool in facts.pools:
        where = f"backend {pool.backend.name} on {_name(facts, pool.seen.host_id)}"
        for volume in pool.missing:
            yield Violation(invariant=8, title=f"volume {volume.name or volume.id} is not on {where}")
        for stranger in pool.unknown:
            title = f"{where} has volume {stranger.uuid}, which should not be there"
            yield Violation(invariant=11, title=title, evidence=stranger.why)


def _one_owner(facts: Facts) -> Iterator[Violation]:
    """2. One owner host per instance; only it may run the guest."""
    for host_id, seen in facts.seen.items():
        for domain in seen.domains:
            instance = facts.instances.get(domain.uuid)
            if domain.owned and instance and instance.host_id != host_id and domain.power is PowerState.RUNNING:
                yield Violation(
                    invariant=2,
                    title=f"{instance.name} runs on {_name(facts, host_id)}, which does not own it",
                    evidence=f"its host is {_name(facts, instance.host_id)}",
                )


def _addresses(facts: Facts) -> Iterator[Violation]:
    """3. (network, IP) and MAC are unique (the database holds that); each fixed IP belongs to an existing port, and
    to a subnet of its network."""
    for address in facts.addresses:
        where = f"network {address.network_id}"
        if address.port_network is None:
            yield Violation(invariant=3, title=f"address {address.ip} belongs to no port", evidence=where)
        elif {address.port_network, address.subnet_network} != {address.network_id}:
            yield Violation(
                invariant=3, title=f"address {address.ip} is on another network than its port", evidence=where
            )
        if ipaddress.ip_address(address.ip) not in ipaddress.ip_network(address.cidr):
            yield Violation(
                invariant=3, title=f"address {address.ip} is not in its subnet {address.cidr}", evidence=where
            )


def _within_capacity(facts: Facts) -> Iterator[Violation]:
    """4. Claims on a host never exceed capacity x ratio, per resource."""
    for host in facts.hosts.values():
        for resource in RESOURCES:
            claimed = sum(getattr(claim, resource) for claim in facts.claims if claim.host_id == host.id)
            used, cap = getattr(host, f"{resource}_used"), getattr(host, f"{resource}_cap")
            if claimed != used:
                yield Violation(
                    invariant=4,
                    title=f"host {host.name}: {resource} used is not the sum of its claims",
                    evidence=f"used {used}, claimed {claimed}",
                )
            if claimed > cap:
                yield Violation(
                    invariant=4, title=f"host {host.name} is over its {resource}", evidence=f"{claimed} > {cap}"
                )


def _claims_while_placed(facts: Facts) -> Iterator[Violation]:
    """5. A claim exists exactly while an instance is placed or moving."""
    held: dict[str, set[str]] = {}
    for claim in facts.claims:
        held.setdefault(claim.instance_id, set()).add(claim.host_id)
    for instance_id, hosts in held.items():
        instance = facts.instances.get(instance_id)
        if instance is None:
            yield Violation(invariant=5, title=f"a claim is held for {instance_id}, which is gone")
        elif instance.host_id not in hosts:
            yield Violation(invariant=5, title=f"{instance.name} holds a claim, but not on its host")
    for instance in facts.instances.values():
        if instance.host_id is not None and instance.host_id not in held.get(instance.id, ()):
            yield Violation(invariant=5, title=f"{instance.name} is placed without a claim")


def _nothing_lost(facts: Facts) -> Iterator[Violation]:
    """6. An acknowledged create survives any crash until its deletion is acknowledged."""
    for operation_id, instance_id in facts.creates.items():
        if instance_id not in facts.known_instances:
            yield Violation(
                invariant=6,
                title=f"instance {instance_id} was accepted and is gone",
                evidence=f"operation {operation_id}",
            )


def _generations(facts: Facts) -> Iterator[Violation]:
    """7. Per object, a host never has a generation that was not given out."""
    for host_id, seen in facts.seen.items():
        for domain in seen.domains:
            instance = facts.instances.get(domain.uuid)
            if instance and domain.generation is not None and domain.generation > instance.generation:
                yield Violation(
                    invariant=7,
                    title=f"host {_name(facts, host_id)} is ahead on {instance.name}",
                    evidence=f"generation {domain.generation} > {instance.generation}",
                )
        row = facts.networking.get(host_id)
        given = row.generation if row else 0
        applied = seen.networking.generation if seen.networking else None
        if applied is not None and applied > given:
            yield Violation(
                invariant=7,
                title=f"host {_name(facts, host_id)} is ahead on its networking",
                evidence=f"generation {applied} > {given}",
            )


_HAS_DISK = (states.ACTIVE, states.STOPPED, states.PAUSED, states.SUSPENDED)


def _data_kept(facts: Facts) -> Iterator[Violation]:
    """8. Data is deleted only by a journalled `absent`: what lives has its root disk."""
    for instance in facts.instances.values():
        seen = facts.seen.get(instance.host_id or "")
        if seen is None or instance.id in facts.busy or instance.vm_state not in _HAS_DISK:
            continue
        if instance.image_id and not any(d.instance == instance.id and d.role == "root" for d in seen.disks):
            yield Violation(invariant=8, title=f"{instance.name} has no root disk on {_name(facts, instance.host_id)}")


def _chains(facts: Facts) -> Iterator[Violation]:
    """9. A backing chain's digest is verified before first use."""
    for host_id, seen in facts.seen.items():
        for image in seen.images:
            if image.refs and not image.verified:
                yield Violation(
                    invariant=9, title=f"host {_name(facts, host_id)} uses image {image.digest[:12]} unverified"
                )


def _escaped(facts: Facts) -> Iterator[Violation]:
    """10. Nothing a tenant controls reaches a terminal unescaped: no name holds what would need escaping."""
    for instance in facts.instances.values():
        if any(unicodedata.category(letter) in ("Cc", "Cf") for letter in instance.name):
            yield Violation(invariant=10, title=f"instance {instance.id} has control characters in its name")


def _as_wanted(facts: Facts) -> Iterator[Violation]:
    """11. The database equals the hosts, every operation is ended or says why not, and there are no orphans."""
    for operation in facts.operations:
        if operation.state == State.BLOCKED and not operation.error:
            yield Violation(invariant=11, title=f"operation {operation.id} is blocked without a reason")
    for host_id, seen in facts.seen.items():
        name = _name(facts, host_id)
        here = {domain.uuid: domain for domain in seen.domains if domain.owned}
        for instance in facts.instances.values():
            if instance.host_id != host_id or instance.id in facts.busy or instance.vm_state == states.ERROR:
                continue
            domain = here.get(instance.id)
            if domain is None:
                yield Violation(invariant=11, title=f"{instance.name} is {instance.status}, host {name} lacks it")
            elif states.POWER[domain.power] != instance.power_state:
                yield Violation(
                    invariant=11,
                    title=f"{instance.name} is {states.POWER_WORD[instance.power_state]} here",
                    evidence=f"host {name} says {domain.power}",
                )
        mine = {uuid for uuid, instance in facts.instances.items() if instance.host_id == host_id} | facts.busy
        yield from _orphans(facts, host_id, seen, mine)


def _networking_as_wanted(facts: Facts) -> Iterator[Violation]:
    """11, of networking: living hosts have confirmed what the database wants of them, what floats leads somewhere, and
    no host holds an address that it does not need."""
    for host_id, row in facts.networking.items():
        host = facts.hosts.get(host_id)
        if host is None:
            yield Violation(invariant=11, title=f"networking is kept for host {host_id}, which is gone")
        elif host.state != "up":
            continue
        elif row.applied < row.generation:
            if facts.at - row.changed_at > SETTLED:
                why = row.error["title"] if row.error else f"generation {row.applied} < {row.generation}"
                yield Violation(invariant=11, title=f"host {host.name} has not confirmed its networking", evidence=why)
        elif row.digest != facts.told.get(host_id):
            yield Violation(invariant=11, title=f"host {host.name} was told another networking than it should have")
    for floating in facts.floating:
        if floating.port_id is None:
            if floating.status != "DOWN":
                yield Violation(invariant=11, title=f"floating IP {floating.address} is {floating.status} on no port")
        elif (floating.router_id, floating.network_id) not in facts.ways_out:
            yield Violation(invariant=11, title=f"floating IP {floating.address} is on a port that no router leads to")
    for host_id, network, needed in facts.gateways:
        row_of = facts.networking.get(host_id)
        if host_id not in facts.hosts or (not needed and row_of is not None and row_of.applied == row_of.generation):
            yield Violation(
                invariant=11,
                title=f"host {_name(facts, host_id)} holds an address that it does not need",
                evidence=f"external network {network}",
            )


def _orphans(facts: Facts, host_id: str, seen: Observation, mine: set[str] | frozenset[str]) -> Iterator[Violation]:
    name = _name(facts, host_id)
    for domain in seen.domains:
        if domain.owned and domain.uuid not in mine:
            yield Violation(
                invariant=11, title=f"host {name} has guest {domain.uuid}, which should not be there",
                evidence="quarantined" if domain.quarantined else str(domain.power),
            )  # fmt: skip
    for uuid in sorted({disk.instance for disk in seen.disks} - set(mine)):
        yield Violation(invariant=11, title=f"host {name} has files of {uuid}, which should not be there")
    for network in seen.networks:
        if (network.uuid, host_id) not in facts.networks_on:
            if _is_told(facts, host_id, seen):
                yield Violation(invariant=11, title=f"host {name} has network {network.uuid}, which nothing there uses")
        elif not network.healthy:
            yield Violation(invariant=11, title=f"network {network.uuid} on {name}: {network.detail}")


def _is_told(facts: Facts, host_id: str, seen: Observation) -> bool:
    """Whether the host was looked at when it had already done all that the database wants of its networking."""
    row = facts.networking.get(host_id)
    return row is None or (seen.networking is not None and (seen.networking.generation or 0) >= row.generation)


def _name(facts: Facts, host_id: str | None) -> str:
    host = facts.hosts.get(host_id or "")
    return host.name if host else str(host_id)


def _volume(facts: Facts, volume_id: str) -> str:
    volume = facts.volumes.get(volume_id)
    return volume.name or volume_id if volume else volume_id


CHECKS: tuple[Callable[[Facts], Iterator[Violation]], ...] = (
    _one_writer,
    _one_guest_per_volume,
    _attachments,
    _one_owner,
    _addresses,
    _within_capacity,
    _claims_while_placed,
    _nothing_lost,
    _generations,
    _data_kept,
    _stored,
    _chains,
    _escaped,
    _as_wanted,
    _networking_as_wanted,
)
"""In the order of the design's list."""
