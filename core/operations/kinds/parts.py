"""What several kinds do to a host: carry images, converge a network, converge an instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlmodel import Session, col

from core.compute.instances import states, wire
from core.compute.instances.table import Instance
from core.errors import HostFailed
from core.hosts.hosts import Host
from core.network import networks
from core.network.networks import Network, NetworkHost
from core.network.ports import Port
from core.operations.work import Work
from core.sql import select
from core.store import now
from hostd import spec as wire_types
from hostd.spec import Applied, Apply, ErrorCode, ImageRef, ObjectKind, Want, dump

QUICK = 60.0
"""Seconds until an answer that should come at once is given up as unknown."""

SLOW = 300.0
"""The same for what boots or copies on the host."""

_NEWER_TRIES = 8


def instance_of(session: Session, work: Work) -> Instance:
    """The operation's instance. The row outlives its deletion, so it is always there."""
    return session.execute(
        select(Instance).where(col(Instance.id) == work.operation.object_id).execution_options(populate_existing=True)
    ).scalar_one()


def settle(session: Session, instance: Instance, *, vm_state: str, power_state: int | None = None) -> None:
    """The task is over: this is what the instance is now. Once its deletion was asked for it stays `deleting`, or
    another verb could be accepted behind the delete and bring the guest back."""
    instance.vm_state, instance.updated_at = vm_state, now(session)
    instance.task_state = states.DELETING if instance.want == "absent" else None
    if power_state is not None:
        instance.power_state = power_state
    session.flush()


def power_number(applied: Applied) -> int | None:
    return None if applied.power is None else states.POWER[applied.power]


async def carry_images(work: Work, host_id: str, refs: list[ImageRef]) -> None:
    """Every image the spec names, into the host's cache; reports one progress over all of them."""
    host = work.hosts.get(host_id)
    total = sum(ref.size for ref in refs) or 1
    before = 0
    for ref in refs:
        await host.carry(ref.digest, ref.size, _share(work, before, total))
        before += ref.size


def _share(work: Work, before: int, total: int) -> Callable[[int], None]:
    return lambda sent: work.report(100 * (before + sent) // total)


async def converge_network(work: Work, host_id: str, network_id: str) -> None:
    """Tell a host about a network as it is now; nothing is sent when the host has confirmed just that.

    Two operations may do this for one network at once. Their specs are read from the database one after the other, so
    the newer includes the older; a host that refuses ours as old is asked again with the newest.
    """
    host = work.hosts.get(host_id)
    for _ in range(_NEWER_TRIES):
        desired = await work.write(lambda session: _next_network(session, network_id, host_id))
        if desired is None:
            return
        try:
            await host.call("apply", desired, deadline=QUICK)
        except HostFailed as bad:
            if bad.code != ErrorCode.OLD_GENERATION:
                raise
            continue
        given = desired.generation
        await work.write(lambda session: _confirmed(session, network_id, host_id, given))  # noqa: B023 - returns below
        return
    raise HostFailed(
        f"host {host.name} keeps refusing network {network_id} as old", hint="Its journal is ahead.", transient=True
    )


def _next_network(session: Session, network_id: str, host_id: str) -> Apply | None:
    row = session.get(NetworkHost, (network_id, host_id), populate_existing=True)
    if row is None:
        row = NetworkHost(network_id=network_id, host_id=host_id)
        session.add(row)
    network = session.get(Network, network_id)
    if network is None:
        desired = wire_types.NetworkSpec(uuid=network_id, want=Want.ABSENT, mtu=networks.DEFAULT_MTU)
    else:
        desired = networks.host_spec(session, network, host_id)
    plain = dump(desired)
    digest = wire_types.digest(plain)
    if row.digest == digest and row.applied == row.generation:
        return None
    if row.digest != digest:
        row.generation, row.digest = row.generation + 1, digest
    session.flush()
    return Apply(kind=ObjectKind.NETWORK, uuid=network_id, generation=row.generation, spec=plain)


def _confirmed(session: Session, network_id: str, host_id: str, generation: int) -> None:
    row = session.get(NetworkHost, (network_id, host_id), populate_existing=True)
    if row is not None and row.applied < generation:
        row.applied = generation
    ports = select(Port).where(col(Port.network_id) == network_id, col(Port.host_id) == host_id)
    for port in session.execute(ports).scalars():
        port.status = "ACTIVE"
    session.flush()


def networks_of(session: Session, instance_id: str) -> list[str]:
    query = select(Port.network_id).where(col(Port.device_id) == instance_id).distinct()
    return list(session.execute(query).scalars())


def unbind(session: Session, instance_id: str) -> None:
    """The instance's ports are on no host any more."""
    for port in session.execute(select(Port).where(col(Port.device_id) == instance_id)).scalars():
        port.host_id, port.status = None, "DOWN"
    session.flush()


async def unplug(work: Work) -> None:
    """The instance's ports off its host, and the host told; where it is on none, there is nobody to tell."""

    def unbind_all(session: Session) -> tuple[str | None, list[str]]:
        instance = instance_of(session, work)
        unbind(session, instance.id)
        return instance.host_id, networks_of(session, instance.id)

    host_id, network_ids = await work.write(unbind_all)
    for network_id in network_ids if host_id is not None else ():
        await converge_network(work, str(host_id), network_id)


async def converge_instance(
    work: Work, host_id: str, *, note: str, want: str | None = None, hard: bool = False, deadline: float = SLOW
) -> Applied:
    """Tell a host what an instance shall be. The generation is noted under `note` before it is sent, so that a repeat
    after a crash is a repeat to the host as well; only a spec that changed meanwhile gets a new one."""

    def allot(session: Session) -> tuple[dict[str, Any], int]:
        instance = instance_of(session, work)
        plain = dump(wire.spec(session, work.config, instance, want=want, hard=hard))
        given = {"host": host_id, "digest": wire_types.digest(plain)}
        earlier = work.data.get(note, {})
        if {key: earlier.get(key) for key in given} == given:
            return plain, int(earlier["generation"])
        instance.generation += 1
        session.flush()
        work.note(**{note: {**given, "generation": instance.generation}})
        return plain, instance.generation

    plain, generation = await work.write(allot)
    applied: Applied = await work.hosts.get(host_id).call(
        "apply",
        Apply(kind=ObjectKind.INSTANCE, uuid=work.operation.object_id, generation=generation, spec=plain),
        deadline=deadline,
    )
    return applied


def host_of(session: Session, instance: Instance) -> Host | None:
    return session.get(Host, instance.host_id, populate_existing=True) if instance.host_id else None
