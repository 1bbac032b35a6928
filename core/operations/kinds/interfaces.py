"""instance.attach_interface, instance.detach_interface: a port plugged in to a guest, or pulled out of it.

Plugging in, the network comes first, so that nothing of the guest is heard unguarded; pulling out, the guest comes
first, so that no address is given away that a guest still uses.
"""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from core.compute.instances.table import Instance
from core.network import ports
from core.network.tables import Port
from core.operations.kinds import parts
from core.operations.work import Kind, Step, Work
from core.store import now


def _port(session: Session, work: Work) -> Port | None:
    """The operation's port, while it is the instance's."""
    port = session.get(Port, str(work.data["port"]), populate_existing=True)
    return port if port is not None and port.device_id == work.operation.object_id else None


async def _where(work: Work) -> str | None:
    """The instance's host; None where nobody needs to be told: it is on none, or on its way out."""

    def read(session: Session) -> str | None:
        instance = parts.instance_of(session, work)
        return None if instance.want == "absent" else instance.host_id

    return await work.read(read)


async def _network(work: Work) -> None:
    if (host_id := await _where(work)) is not None:
        await work.networking.publish(host_id)


async def _plug(work: Work) -> None:
    if (host_id := await _where(work)) is not None:
        await parts.converge_instance(work, host_id, note="plug", want="present")


async def _pull(work: Work) -> None:
    if (host_id := await _where(work)) is not None:
        await parts.converge_instance(work, host_id, note="pull", want="present", without=str(work.data["port"]))


async def _give_back(work: Work) -> None:
    """The port is free, and the host forgets it."""

    def change(session: Session) -> str | None:
        port = _port(session, work)
        host_id = None if port is None else port.host_id
        if port is not None:
            ports.give_back(session, port)
        return host_id

    host_id = await work.write(change)
    host_id = host_id or await _where(work)
    if host_id is not None:
        await work.networking.publish(host_id)


def _changed(session: Session, work: Work) -> None:
    instance: Instance = parts.instance_of(session, work)
    instance.updated_at = now(session)
    session.flush()


def _kept_on_operation(session: Session, work: Work, error: dict[str, Any]) -> None:
    """The operation tells it; the guest is as it was before."""


def _nothing(session: Session, work: Work) -> None:
    """As after a failure."""


ATTACH = Kind(
    steps=(
        Step(name="network", run=_network, undo=_give_back),
        Step(name="plug", run=_plug, undo=_pull, weight=2),
    ),
    complete=_changed,
    failed=_kept_on_operation,
    cancelled=_nothing,
)

DETACH = Kind(
    steps=(
        Step(name="pull", run=_pull, undo=_plug, weight=3),
        Step(name="network", run=_give_back),
    ),
    complete=_changed,
    failed=_kept_on_operation,
    cancelled=_nothing,
)
