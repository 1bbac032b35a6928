"""What several kinds do to a host: carry images, unplug ports, converge an instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlmodel import Session, col

from core.compute.instances import states, wire
from core.compute.instances.table import Instance
from core.hosts.hosts import Host
from core.network import fabric, ports
from core.network.ports import plugging
from core.operations.work import Work
from core.sql import select
from core.store import now
from hostd import spec as wire_types
from hostd.spec import Applied, Apply, ImageRef, ObjectKind, dump

QUICK = 60.0
"""Seconds until an answer that should come at once is given up as unknown."""

SLOW = 300.0
"""The same for what boots or copies on the host."""


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


def unbind(session: Session, instance_id: str) -> None:
    """The instance's ports are on no host any more, and the hosts that knew them there are told. Floating IPs stay on
    them, and are DOWN until they are on a host again."""
    mine = [port for port in ports.of_device(session, instance_id) if port.host_id]
    if not mine:
        return
    plugging.touch(session, mine)
    for port in mine:
        port.host_id, port.status = None, "DOWN"
    session.flush()
    fabric.unplugged(session, [port.id for port in mine])


async def unplug(work: Work) -> None:
    """The instance's ports off its host, and the host told; where it is on none, there is nobody to tell."""

    def unbind_all(session: Session) -> str | None:
        instance = instance_of(session, work)
        unbind(session, instance.id)
        return instance.host_id

    host_id = await work.write(unbind_all)
    if host_id is not None:
        await work.networking.publish(host_id)


async def converge_instance(
    work: Work,
    host_id: str,
    *,
    note: str,
    want: str | None = None,
    hard: bool = False,
    without: str | None = None,
    deadline: float = SLOW,
) -> Applied:
    """Tell a host what an instance shall be. The generation is noted under `note` before it is sent, so that a repeat
    after a crash is a repeat to the host as well; only a spec that changed meanwhile gets a new one."""

    def allot(session: Session) -> tuple[dict[str, Any], int]:
        instance = instance_of(session, work)
        plain = dump(wire.spec(session, work.config, instance, want=want, hard=hard, without=without))
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
